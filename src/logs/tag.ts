/** What a log entry says of its container: the tag, written as a Go template, and chosen labels and variables. */
import { invalid } from '../errors.ts';
import { shortId } from '../lib/ids.ts';
import { own } from '../lib/own.ts';
import type { Options } from './options.ts';
import type { LogInfo } from './port.ts';

const FIELDS: Readonly<Record<string, (info: LogInfo) => string>> = {
  ID: (info) => shortId(info.containerId),
  FullID: (info) => info.containerId,
  Name: (info) => info.name.replace(/^\//, ''),
  ImageID: (info) => shortId(info.imageId),
  ImageFullID: (info) => info.imageId,
  ImageName: (info) => info.imageName,
  Command: (info) => info.command.join(' '),
  DaemonName: () => 'docker',
};

/** Replaces `{{.Field}}`; throws invalid on anything else in braces. */
export function tagOf(options: Options, info: LogInfo, fallback: string): string {
  return (options.tag || fallback).replace(/\{\{(.*?)\}\}/g, (_, expression: string) => {
    const field = own(FIELDS, expression.trim().replace(/^\./, ''));
    if (!field || !expression.trim().startsWith('.')) throw invalid(`invalid tag: {{${expression}}} is not known`);
    return field(info);
  });
}

const list = (text: string | undefined): Set<string> =>
  new Set(
    (text ?? '')
      .split(',')
      .map((item) => item.trim())
      .filter(Boolean),
  );

function pattern(text: string | undefined): RegExp | undefined {
  if (!text) return undefined;
  try {
    return new RegExp(text);
  } catch (error) {
    throw invalid(`invalid regular expression '${text}'`, { cause: error });
  }
}

/** Labels and variables that labels, labels-regex, env and env-regex choose. */
export function attributesOf(options: Options, info: LogInfo): Record<string, string> {
  const chosen: Record<string, string> = {};
  const choose = (names: Set<string>, regex: RegExp | undefined, entries: Iterable<[string, string]>): void => {
    for (const [name, value] of entries) if (names.has(name) || regex?.test(name)) chosen[name] = value;
  };
  const variables = info.env.map((entry): [string, string] => {
    const at = entry.indexOf('=');
    return at < 0 ? [entry, ''] : [entry.slice(0, at), entry.slice(at + 1)];
  });
  choose(list(options.labels), pattern(options['labels-regex']), Object.entries(info.labels));
  choose(list(options.env), pattern(options['env-regex']), variables);
  return chosen;
}
