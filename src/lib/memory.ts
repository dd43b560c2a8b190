/** Memory that is large enough to be let go of by hand: the collector counts objects, and comes late to where few are made. */

/** Frees it now. Only for whoever has it to himself; a view of a part of it frees nothing. */
export function release(memory: Uint8Array | ArrayBuffer): void {
  if (memory instanceof ArrayBuffer) memory.transfer(0);
  else if (memory.byteLength === memory.buffer.byteLength) (memory.buffer as ArrayBuffer).transfer(0);
}
