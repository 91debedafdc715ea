import * as Effect from "effect/Effect"

/** Wakes up the one fiber that waits, for next to nothing when none does. */
export class Bell {
  readonly #isDue: () => boolean
  #wake: (() => void) | undefined

  /** Nobody waits while it is due. */
  constructor(isDue: () => boolean) {
    this.#isDue = isDue
  }

  /** Whoever waits goes on, but not within this call: it only puts a task where yielding would put one. */
  ring(): void {
    if (this.#wake === undefined) return
    const wake = this.#wake
    this.#wake = undefined
    wake()
  }

  readonly heard: Effect.Effect<void> = Effect.withFiber((fiber) =>
    Effect.callback((resume) => {
      if (this.#isDue()) return resume(Effect.void)
      this.#wake = () => fiber.currentDispatcher.scheduleTask(() => resume(Effect.void), 0)
      return Effect.sync(() => {
        this.#wake = undefined
      })
    })
  )
}
