/**
 * What is in a regular file: pieces of 64 KiB. Pieces that nothing was written to take no room (a hole), and a copy shares
 * all of them until one side writes.
 */

const pieceSize = 64 * 1024

interface Piece {
  /** Whoever may write into `bytes`; everybody else has to copy first. */
  readonly owner: object
  readonly bytes: Uint8Array
  /** What lies behind is not part of the file, and reads as zeros. */
  readonly used: number
}

/** A class, because there are hundreds of thousands of them. */
export class Bytes {
  private readonly pieces: Map<number, Piece>
  private owner: object = this
  private length = 0
  private kept = 0

  constructor(pieces = new Map<number, Piece>(), size = 0, stored = 0) {
    this.pieces = pieces
    this.length = size
    this.kept = stored
  }

  get size(): number {
    return this.length
  }

  /** What is really kept, which is what counts as used on the disk. */
  get stored(): number {
    return this.kept
  }

  /** Copies into the target what there is, and tells how much that was. */
  read(position: number, target: Uint8Array): number {
    const length = Math.max(0, Math.min(target.length, this.length - position))
    for (let done = 0; done < length;) {
      const index = Math.floor((position + done) / pieceSize)
      const start = (position + done) % pieceSize
      const count = Math.min(pieceSize - start, length - done)
      const piece = this.pieces.get(index)
      const there = piece === undefined ? 0 : Math.max(0, Math.min(count, piece.used - start))
      if (piece !== undefined && there > 0) target.set(piece.bytes.subarray(start, start + there), done)
      target.fill(0, done + there, done + count)
      done += count
    }
    return length
  }

  /** Writes as much as fits when what is stored may grow by no more than `room`, and tells how much that was. */
  write(position: number, source: Uint8Array, room: number): number {
    let left = room
    let done = 0
    while (done < source.length) {
      const index = Math.floor((position + done) / pieceSize)
      const start = (position + done) % pieceSize
      const used = this.pieces.get(index)?.used ?? 0
      const end = Math.min(pieceSize, start + source.length - done, used + left)
      if (end <= start) break
      left -= Math.max(0, end - used)
      this.prepare(index, end).set(source.subarray(done, done + end - start), start)
      done += end - start
    }
    if (done > 0) this.length = Math.max(this.length, position + done)
    return done
  }

  /** Cuts off, or grows by a hole. */
  resize(size: number): void {
    if (size < this.length) {
      const last = Math.floor(size / pieceSize)
      for (const [index, piece] of this.pieces) {
        const used = index < last ? piece.used : index > last ? 0 : Math.min(piece.used, size % pieceSize)
        if (used === piece.used) continue
        this.put(index, { ...piece, used })
        if (used === 0) this.pieces.delete(index)
      }
    }
    this.length = size
  }

  copy(): Bytes {
    // From now on the pieces that there are belong to nobody.
    this.owner = {}
    return new Bytes(new Map(this.pieces), this.length, this.kept)
  }

  /** A piece that is ours and holds `end` bytes, zeros where nothing was written. */
  private prepare(index: number, end: number): Uint8Array {
    const piece = this.pieces.get(index)
    const used = piece?.used ?? 0
    if (piece === undefined || piece.owner !== this.owner || piece.bytes.length < end) {
      const bytes = new Uint8Array(used === 0 ? end : Math.min(pieceSize, Math.max(end, 2 * used)))
      if (piece !== undefined) bytes.set(piece.bytes.subarray(0, used))
      this.put(index, { owner: this.owner, bytes, used: Math.max(used, end) })
      return bytes
    }
    if (end > used) {
      // What was cut off once must not come back.
      piece.bytes.fill(0, used, end)
      this.put(index, { ...piece, used: end })
    }
    return piece.bytes
  }

  private put(index: number, piece: Piece): void {
    this.kept += piece.used - (this.pieces.get(index)?.used ?? 0)
    this.pieces.set(index, piece)
  }
}
