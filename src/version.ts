/** Exactly one x.y.z: clients parse it (docker's version check). */
export const VERSION = '0.1.0';
export const API_VERSION = '1.51';
export const MIN_API_VERSION = '1.24';
