/** What the agent says of a file, as Effect's `File.Info`. */
import * as ByteSize from "effect/ByteSize"
import type * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import { fileType } from "../protocol/frames.ts"
import type { Reader } from "../protocol/payload.ts"

const types: { readonly [number: number]: { readonly type: FileSystem.File.Type; readonly bits: number } } = {
  [fileType.file]: { type: "File", bits: 0o100000 },
  [fileType.directory]: { type: "Directory", bits: 0o040000 },
  [fileType.link]: { type: "SymbolicLink", bits: 0o120000 },
  [fileType.block]: { type: "BlockDevice", bits: 0o060000 },
  [fileType.character]: { type: "CharacterDevice", bits: 0o020000 },
  [fileType.fifo]: { type: "FIFO", bits: 0o010000 },
  [fileType.socket]: { type: "Socket", bits: 0o140000 }
}
const unknownType = { type: "Unknown", bits: 0 } as const

export const typeOf = (number: number): FileSystem.File.Type => (types[number] ?? unknownType).type

const unknownTime = -(2n ** 63n)
const nanosPerMilli = 1_000_000n

const dateOf = (nanos: bigint): Option.Option<Date> => {
  if (nanos === unknownTime) return Option.none()
  const millis = nanos / nanosPerMilli
  return Option.some(new Date(Number(nanos % nanosPerMilli < 0n ? millis - 1n : millis)))
}

export const readInfo = (reader: Reader): FileSystem.File.Info => {
  const { bits, type } = types[reader.u8()] ?? unknownType
  const dev = reader.u64()
  const ino = Option.some(reader.u64())
  const mode = bits | reader.u32()
  const nlink = Option.some(reader.u64())
  const uid = Option.some(reader.u32())
  const gid = Option.some(reader.u32())
  const rdev = Option.some(reader.u64())
  const size = ByteSize.bytes(reader.u64())
  const blksize = Option.some(ByteSize.bytes(reader.u64()))
  const blocks = Option.some(reader.u64())
  const atime = dateOf(reader.i64())
  const mtime = dateOf(reader.i64())
  reader.i64() // of the last change of these facts, which Effect does not have
  const birthtime = dateOf(reader.i64())
  return { type, mtime, atime, birthtime, dev, ino, mode, nlink, uid, gid, rdev, size, blksize, blocks }
}
