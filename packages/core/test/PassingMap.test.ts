import { assert, it } from "@effect/vitest"
import { Effect, Random } from "effect"
import { PassingMap } from "../src/internal/passingMap.ts"

it.effect("holds what a map would hold, however much has gone through it", () =>
  Effect.gen(function* () {
    const map = new Map<number, number>()
    const passing = new PassingMap<number, number>()
    for (let step = 0; step < 5000; step++) {
      const key = yield* Random.nextIntBetween(0, 200)
      // Full, empty and full again.
      if ((yield* Random.next) < 0.5 + 0.3 * Math.sin(step / 300)) {
        map.set(key, step)
        passing.set(key, step)
      } else {
        map.delete(key)
        passing.delete(key)
      }
      assert.strictEqual(passing.size, map.size)
      assert.strictEqual(passing.has(key), map.has(key))
    }
    for (let key = 0; key < 200; key++) assert.strictEqual(passing.has(key), map.has(key))
  }).pipe(Random.withSeed("passing"))
)
