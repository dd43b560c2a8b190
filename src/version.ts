/** Ours; `reactord --version`, and a component of /version. */
export const VERSION = '0.1.0';
/**
 * The Engine release whose API this daemon serves: /version's Version, by which clients decide what they may use (some refuse anything
 * below 20). Exactly one x.y.z: they parse it.
 */
export const ENGINE_VERSION = '28.5.0';
export const API_VERSION = '1.51';
export const MIN_API_VERSION = '1.24';
