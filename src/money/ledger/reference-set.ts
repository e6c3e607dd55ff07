import { hash } from 'node:crypto';

const WORDS_PER_DIGEST = 4;
const SLOTS_MIN = 16;

/**
 * Remembers every reference of one account in 16 bytes each (at most 64 with the capacity to grow), so that a
 * duplicate anywhere in a chain of millions of rows is found without keeping the texts. The first half of
 * SHA-256 represents a reference: a collision by chance is less likely than a computing error of the machine.
 *
 * Open addressing in one flat array: a `Set` of strings would take several times the memory.
 */
export class ReferenceSet {
  private words = new Uint32Array(SLOTS_MIN * WORDS_PER_DIGEST);
  private slots = SLOTS_MIN;
  private size = 0;

  /** Adds `reference`; false when it was there already. */
  add(reference: string): boolean {
    const digest = hash('sha256', reference, 'buffer');
    if (this.size * 2 >= this.slots) this.grow();
    const added = this.insert(
      digest.readUInt32LE(0),
      digest.readUInt32LE(4),
      digest.readUInt32LE(8),
      // All zeros means an empty slot.
      (digest.readUInt32LE(12) | 1) >>> 0,
    );
    if (added) this.size += 1;
    return added;
  }

  private insert(a: number, b: number, c: number, d: number): boolean {
    const { words, slots } = this;
    for (let slot = a & (slots - 1); ; slot = (slot + 1) & (slots - 1)) {
      const at = slot * WORDS_PER_DIGEST;
      if (words[at + 3] === 0) {
        words[at] = a;
        words[at + 1] = b;
        words[at + 2] = c;
        words[at + 3] = d;
        return true;
      }
      if (words[at] === a && words[at + 1] === b && words[at + 2] === c && words[at + 3] === d) return false;
    }
  }

  private grow(): void {
    const before = this.words;
    this.slots *= 2;
    this.words = new Uint32Array(this.slots * WORDS_PER_DIGEST);
    for (let at = 0; at < before.length; at += WORDS_PER_DIGEST) {
      const [a, b, c, d] = before.subarray(at, at + WORDS_PER_DIGEST);
      if (d !== 0) this.insert(a as number, b as number, c as number, d as number);
    }
  }
}
