import * as Effect from "effect/Effect"

/** Wakes up the one fiber that waits, for next to nothing when none does. */
export class Bell {
  readonly #isDue: () => boolean
  #wake: ((effect: Effect.Effect<void>) => void) | undefined

  /** Nobody waits while it is due. */
  constructor(isDue: () => boolean) {
    this.#isDue = isDue
  }

  /** Whoever waits goes on, but not within this call. */
  ring(): void {
    if (this.#wake === undefined) return
    const wake = this.#wake
    this.#wake = undefined
    wake(Effect.yieldNow)
  }

  readonly heard: Effect.Effect<void> = Effect.callback((resume) => {
    if (this.#isDue()) return resume(Effect.void)
    this.#wake = resume
    return Effect.sync(() => {
      this.#wake = undefined
    })
  })
}
