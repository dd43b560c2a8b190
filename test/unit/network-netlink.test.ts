import { describe, expect, test } from 'vitest';
import { addressBytes } from '../../src/network/address.ts';
import {
  attribute,
  IFLA,
  linkPart,
  message,
  NLM_F,
  readAcknowledgement,
  routePart,
  RTM,
  text,
  u8,
} from '../../src/network/netlink/message.ts';

const acknowledgement = (errno: number, flags: number, ...rest: Uint8Array[]): Buffer => {
  const body = Buffer.concat([Buffer.alloc(20), ...rest]);
  body.writeUInt32LE(body.length, 0);
  body.writeUInt16LE(2, 4);
  body.writeUInt16LE(flags, 6);
  body.writeUInt32LE(7, 8);
  body.writeInt32LE(-errno, 16);
  return body;
};

describe('a request', () => {
  test('has its length, its sequence, and asks for an acknowledgement', () => {
    const bytes = message(RTM.NEWLINK, NLM_F.CREATE, 7, linkPart(3, 1), attribute(IFLA.IFNAME, text('eth0')));
    expect(bytes.readUInt32LE(0)).toBe(bytes.length);
    expect([bytes.readUInt16LE(4), bytes.readUInt16LE(6), bytes.readUInt32LE(8)]).toEqual([16, 0x405, 7]);
    expect([bytes.readInt32LE(20), bytes.readUInt32LE(24), bytes.readUInt32LE(28)]).toEqual([3, 1, 1]);
  });

  test('pads attributes, but counts only what is in them', () => {
    expect([...attribute(33, u8(1))]).toEqual([5, 0, 33, 0, 1, 0, 0, 0]);
    expect([...attribute(18, attribute(33, u8(1)), attribute(4, u8(0)))].slice(0, 4)).toEqual([20, 0, 18, 0]);
  });

  test('a direct IPv4 route ends at the link, one by a gateway does not', () => {
    expect([routePart(2, true)[6], routePart(2, false)[6], routePart(10, true)[6]]).toEqual([253, 0, 0]);
  });
});

describe('an acknowledgement', () => {
  test('tells of success, and of a failure with the kernel’s own words', () => {
    expect(readAcknowledgement(acknowledgement(0, 0x100))).toEqual({ sequence: 7, errno: 0, words: '' });
    const capped = acknowledgement(17, 0x300, Buffer.alloc(16), attribute(1, text('already there')));
    expect(readAcknowledgement(capped)).toEqual({ sequence: 7, errno: 17, words: 'already there' });
    const request = message(RTM.NEWLINK, 0, 7, linkPart(0));
    const whole = acknowledgement(17, 0x200, request, attribute(1, text('no')));
    expect(readAcknowledgement(whole)?.words).toBe('no');
  });

  test('is not found in what is cut or is something else', () => {
    const whole = acknowledgement(17, 0x300, Buffer.alloc(16), attribute(1, text('already there')));
    for (let length = 0; length < 20; length++) expect(readAcknowledgement(whole.subarray(0, length))).toBeUndefined();
    const other = Buffer.from(whole);
    other.writeUInt16LE(16, 4);
    expect(readAcknowledgement(other)).toBeUndefined();
    const lying = Buffer.from(whole);
    lying.writeUInt16LE(60_000, 36);
    expect(readAcknowledgement(lying)?.words).toBe('');
  });
});

test('addresses are bytes in network order', () => {
  expect([...addressBytes('10.1.2.3')]).toEqual([10, 1, 2, 3]);
  expect(addressBytes('fd00::1:2').toString('hex')).toBe('fd000000000000000000000000010002');
});
