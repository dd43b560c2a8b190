/** WWW-Authenticate headers (RFC 9110, 11.6.1) as registries send them. Pure. */
export interface Challenge {
  scheme: 'bearer' | 'basic';
  parameters: Readonly<Record<string, string>>;
}

const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
const PARAMETER = new RegExp(`^\\s*,?\\s*(${TOKEN})\\s*=\\s*(?:"((?:[^"\\\\]|\\\\.)*)"|(${TOKEN}))`);
const SCHEME = new RegExp(`^[\\s,]*(${TOKEN})(?=\\s|,|$)`);

/** All challenges that we can meet, in the server's order. What cannot be read ends the list. */
export function parseChallenges(header: string | readonly string[] | undefined): Challenge[] {
  const challenges: Challenge[] = [];
  for (const line of header === undefined ? [] : typeof header === 'string' ? [header] : header) {
    let rest = line.slice(0, 8192);
    for (let scheme = SCHEME.exec(rest); scheme; scheme = SCHEME.exec(rest)) {
      rest = rest.slice(scheme[0].length);
      const parameters: Record<string, string> = {};
      for (let found = PARAMETER.exec(rest); found; found = PARAMETER.exec(rest)) {
        rest = rest.slice(found[0].length);
        parameters[found[1]!.toLowerCase()] = found[3] ?? found[2]!.replace(/\\(.)/g, '$1');
      }
      const name = scheme[1]!.toLowerCase();
      if (name === 'bearer' || name === 'basic') challenges.push({ scheme: name, parameters });
    }
  }
  return challenges;
}

/** The challenge to meet: bearer before basic. */
export const bestChallenge = (challenges: readonly Challenge[]): Challenge | undefined =>
  challenges.find(({ scheme }) => scheme === 'bearer') ?? challenges.find(({ scheme }) => scheme === 'basic');
