import { hash } from 'node:crypto';

const WORDS_PER_DIGEST = 4;
const SLOTS_MIN = 16;

/**
 * Remembers every reference of one account in 16 bytes each, so that a duplicate anywhere in a chain of
 * millions of rows is found without keeping the texts. The first half of SHA-256 stands for a reference:
 * two of them meeting by chance is less likely than the machine computing wrongly.
 *
 * Open addressing in one flat array: a `Set` of strings would take about ten times the memory.
 */
export class ReferenceSet {
  private words = new Uint32Array(SLOTS_MIN * WORDS_PER_DIGEST);
  private slots = SLOTS_MIN;
  private size = 0;

  /** Adds `reference`; false when it was there already. */
  add(reference: string): boolean {
    const digest = hash('sha256', reference, 'buffer');
    const words = [0, 4, 8, 12].map((offset) => digest.readUInt32LE(offset));
    // All zeros means an empty slot.
    words[3] = (words[3] as number) | 1;
    if (this.size * 2 >= this.slots) this.grow();
    if (!this.insert(words)) return false;
    this.size += 1;
    return true;
  }

  private insert(digest: ArrayLike<number>): boolean {
    const [w0, w1, w2, w3] = [digest[0], digest[1], digest[2], digest[3]] as [number, number, number, number];
    let slot = w0 & (this.slots - 1);
    for (;;) {
      const at = slot * WORDS_PER_DIGEST;
      if (this.words[at + 3] === 0) {
        this.words.set([w0, w1, w2, w3], at);
        return true;
      }
      const same =
        this.words[at] === w0 &&
        this.words[at + 1] === w1 &&
        this.words[at + 2] === w2 &&
        this.words[at + 3] === w3;
      if (same) return false;
      slot = (slot + 1) & (this.slots - 1);
    }
  }

  private grow(): void {
    const before = this.words;
    this.slots *= 2;
    this.words = new Uint32Array(this.slots * WORDS_PER_DIGEST);
    for (let at = 0; at < before.length; at += WORDS_PER_DIGEST) {
      if (before[at + 3] !== 0) this.insert(before.subarray(at, at + WORDS_PER_DIGEST));
    }
  }
}
