/* oxlint-disable vitest/no-conditional-tests, vitest/no-disabled-tests -- what cannot be had here is shown as skipped */
import { driverConformance } from "@effect-sandbox/testing/vitest"
import { afterAll, describe, it } from "@effect/vitest"
import { type Level, host, obstacle } from "./support/LocalHost.ts"

const levels: ReadonlyArray<Level> = ["none", "bubblewrap"]

for (const level of levels) {
  const reason = obstacle[level]
  if (reason === undefined) {
    const { layer, options, remove } = host(level)
    afterAll(remove)
    driverConformance(`LocalDriver, isolation ${level}`, layer, options)
  } else {
    describe(`LocalDriver, isolation ${level}`, () => {
      it.skip(`cannot be checked here: ${reason}`, () => {})
    })
  }
}
