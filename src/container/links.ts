/** Legacy links as clients write them. Pure. */

/** "name:alias", "name" or "/name:/this/alias" as inspect of older daemons had it. */
export function parseLink(link: string): { name: string; alias: string } {
  const [name = '', alias = name] = link.split(':');
  return { name: name.replace(/^\//, ''), alias: alias.slice(alias.lastIndexOf('/') + 1) };
}
