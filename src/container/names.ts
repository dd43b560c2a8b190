/** Names of containers: what is allowed, and one made up for whoever gives none. */
import { randomInt } from 'node:crypto';
import { invalid } from '../errors.ts';

const VALID = /^\/?[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;

const MANNERS = (
  'able agile amber ample astute awake balmy bold brave breezy bright brisk calm candid careful cheerful clear clever ' +
  'cosy curious daring deft eager earnest easy fair fearless fleet fluent fond frank fresh friendly gentle glad golden ' +
  'graceful grand hardy hearty honest hopeful humble jolly keen kind lively lucid lucky merry mild modest neat nimble ' +
  'noble patient placid plucky polite prompt proud quick quiet ready robust serene sharp silent silver sincere sleek ' +
  'smooth snug solid spry steady stout sunny sure swift tidy tranquil trusty upbeat vivid warm wise witty zesty'
).split(' ');

const PEOPLE = (
  'abel ada agnesi anning archimedes avogadro babbage bell bernoulli bohr boole born bose brahe burnell cannon cantor ' +
  'carson cauchy cavendish chandra cori curie dalton darwin dijkstra dirac einstein elion erdos euclid euler faraday ' +
  'fermat fermi feynman fourier franklin galileo galois gauss germain goodall hamilton hertz hilbert hodgkin hooke hopper ' +
  'hubble huygens hypatia jemison johnson joule kepler kovalevskaya lagrange lamarr laplace leavitt leibniz liskov ' +
  'lovelace maxwell mcclintock meitner mendel mirzakhani napier newton nightingale noether ohm ostrom pascal pasteur ' +
  'pauli payne planck poincare ptolemy ramanujan riemann ritchie rubin rutherford sagan shannon sinoussi somerville ' +
  'tesla thompson turing vaughan volta wu yalow'
).split(' ');

const oneOf = (words: readonly string[]): string => words[randomInt(words.length)]!;

/** A free name like `brisk_noether`, with a number behind it when the free ones get few. */
export function randomName(isTaken: (name: string) => boolean): string {
  for (let attempt = 0; ; attempt++) {
    const name = `${oneOf(MANNERS)}_${oneOf(PEOPLE)}${attempt < 5 ? '' : randomInt(10 ** Math.min(attempt - 4, 9))}`;
    if (!isTaken(name)) return name;
  }
}

/** The name without its slash. Throws invalid with dockerd's words. */
export function checkedName(name: string): string {
  if (!VALID.test(name)) throw invalid(`Invalid container name (${name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`);
  return name.replace(/^\//, '');
}
