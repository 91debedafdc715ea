/**
 * The stream of a container without a terminal: its standard output and standard error in one, as blocks that begin
 * with eight bytes (the stream's number, three zeros, the length as big endian).
 */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Pull from "effect/Pull"
import * as Stream from "effect/Stream"
import { DockerError, EngineError, MalformedResponse } from "./DockerError.ts"

/** Some bytes of one of the streams. They share their memory with what was received. */
export interface Piece {
  readonly source: "stdout" | "stderr"
  readonly bytes: Uint8Array
}

/** Takes a multiplexed stream apart as it comes; blocks are handed on before they are complete. */
export interface Demultiplexer {
  /** The pieces in what has come, up to where it is wrong. */
  readonly push: (chunk: Uint8Array) => ReadonlyArray<Piece>
  /** What was wrong in what has come; from there on nothing is taken apart. */
  readonly failure: () => DockerError | undefined
  /** What is wrong when the stream ends here; undefined when nothing is. */
  readonly end: () => DockerError | undefined
}

const headerSize = 8

/** `operation` is for messages: `the attachment to container web`. */
export const demultiplexer = (operation: string): Demultiplexer => {
  const header = new Uint8Array(headerSize)
  let headerLength = 0
  /** How much of the block is still to come. */
  let left = 0
  let source: Piece["source"] = "stdout"
  /** What the engine itself has to say (stream 3): why it ends the stream. */
  let complaint: Array<Uint8Array> | undefined

  const malformed = (description: string) =>
    new DockerError({ reason: new MalformedResponse({ operation, description }) })

  let failure: DockerError | undefined

  const readHeader = () => {
    const [kind = 255, zero1, zero2, zero3, byte1 = 0, byte2 = 0, byte3 = 0, byte4 = 0] = header
    if (kind > 3 || zero1 !== 0 || zero2 !== 0 || zero3 !== 0) {
      failure = malformed(`a block begins with ${[...header].join(" ")}, which is no header`)
    }
    left = byte1 * 0x1_00_00_00 + ((byte2 << 16) | (byte3 << 8) | byte4)
    source = kind === 2 ? "stderr" : "stdout"
    complaint = kind === 3 ? [] : undefined
  }

  const push = (chunk: Uint8Array): ReadonlyArray<Piece> => {
    const pieces: Array<Piece> = []
    let at = 0
    while (at < chunk.length && failure === undefined) {
      if (left === 0) {
        while (headerLength < headerSize && at < chunk.length) header[headerLength++] = chunk[at++] ?? 0
        if (headerLength < headerSize) break
        headerLength = 0
        readHeader()
      } else {
        const bytes = chunk.subarray(at, at + left)
        left -= bytes.length
        at += bytes.length
        if (complaint === undefined) pieces.push({ source, bytes })
        else complaint.push(bytes)
      }
      if (left === 0 && headerLength === 0 && complaint !== undefined) {
        failure = new DockerError({ reason: new EngineError({ operation, status: 500, description: join(complaint) }) })
      }
    }
    return pieces
  }

  return {
    push,
    failure: () => failure,
    end: () =>
      headerLength > 0
        ? malformed("it ends in the middle of a header")
        : left > 0
          ? malformed(`it ends ${left} bytes before the end of a block`)
          : undefined
  }
}

const join = (parts: ReadonlyArray<Uint8Array>): string => {
  const decoder = new TextDecoder()
  return parts.map((part) => decoder.decode(part, { stream: true })).join("") + decoder.decode()
}

type Pieces = Arr.NonEmptyReadonlyArray<Piece>

/** The same for what is pulled: one pull gives the pieces of everything that had come. */
export const demultiplexPull = <E, R>(
  pull: Pull.Pull<Arr.NonEmptyReadonlyArray<Uint8Array>, E, void, R>,
  operation: string
): Pull.Pull<Pieces, E | DockerError, void, R> => {
  const { end, failure, push } = demultiplexer(operation)
  const take = (chunks: Arr.NonEmptyReadonlyArray<Uint8Array>): Pull.Pull<Pieces, E | DockerError, void, R> => {
    const pieces = chunks.length === 1 ? push(chunks[0]) : chunks.flatMap(push)
    return Arr.isReadonlyArrayNonEmpty(pieces) ? Effect.succeed(pieces) : next
  }
  const finish = (): Pull.Pull<never, DockerError> => {
    const problem = end()
    return problem === undefined ? Cause.done() : Effect.fail(problem)
  }
  // What came before a failure is handed on before it (F18).
  const next: Pull.Pull<Pieces, E | DockerError, void, R> = Effect.suspend(() => {
    const problem = failure()
    return problem === undefined ? Effect.flatMap(Pull.catchDone(pull, finish), take) : Effect.fail(problem)
  })
  return next
}

/** The same for what is handed over as it comes. Fails with what `take` gives back. */
export const demultiplexReceive = <S>(
  receive: <A>(take: (chunk: Uint8Array) => A | undefined) => Pull.Pull<never, A | DockerError>,
  operation: string,
  take: (piece: Piece) => S | undefined
): Pull.Pull<never, S | DockerError> =>
  Effect.suspend(() => {
    const { end, failure, push } = demultiplexer(operation)
    const takeAll = (chunk: Uint8Array): S | DockerError | undefined => {
      for (const piece of push(chunk)) {
        const stop = take(piece)
        if (stop !== undefined) return stop
      }
      return failure()
    }
    const finish = (): Pull.Pull<never, DockerError> => {
      const problem = end()
      return problem === undefined ? Cause.done() : Effect.fail(problem)
    }
    return Pull.catchDone(receive(takeAll), finish)
  })

/** The same for a stream. */
export const demultiplex =
  (operation: string) =>
  <E, R>(bytes: Stream.Stream<Uint8Array, E, R>): Stream.Stream<Piece, E | DockerError, R> =>
    Stream.transformPull(bytes, (pull) => Effect.sync(() => demultiplexPull(pull, operation)))
