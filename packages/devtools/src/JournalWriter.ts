/**
 * What a journal says about itself while it is written: how much it has stored, how firmly, and whether it can write.
 *
 * **Written** events were handed to the operating system: they survive the end of this process, also by SIGKILL.
 * **Acknowledged** events are as firm as the journal's `sync` policy makes them: with `"always"` and an interval they
 * have reached the disk and survive a loss of power; with `"never"` they are what is written. Events are written, and
 * so acknowledged, in the order in which they were published, each once.
 */
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type { JournalError } from "./JournalError.ts"

export interface JournalWriter {
  /** The path that it was opened with. */
  readonly file: string
  /** How it stands now. */
  readonly stats: Effect.Effect<Stats>
  /** How many events are acknowledged, now and then whenever there are more. Old numbers may be left out. */
  readonly acknowledged: Stream.Stream<number>
  /**
   * Waits until everything published so far is acknowledged, and for the other handlers of the same hub to have handled
   * it. Makes an interval's sync happen at once. While the journal cannot write, it waits.
   */
  readonly flush: Effect.Effect<void>
}

/** Counts since the journal was opened, of this writer only. */
export interface Stats {
  readonly written: number
  readonly acknowledged: number
  /** Published, and not yet written. */
  readonly waiting: number
  /** Lost, since more than `capacity` events would have waited. */
  readonly dropped: number
  /** How often an attempt to write, or to sync, failed. */
  readonly failures: number
  /** Why it cannot write at present; it goes on trying. */
  readonly trouble: JournalError | undefined
}
