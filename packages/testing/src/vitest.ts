/* oxlint-disable vitest/valid-title, vitest/no-conditional-tests -- the tests are made from data */
/**
 * The conformance suite as tests of vitest: a `describe` for each topic, a test for each check, and a report in the end.
 * Needs `vitest` and `@effect/vitest`, which nothing else here does.
 *
 * ```ts
 * import { NodeServices } from "@effect/platform-node"
 * import { Layer } from "effect"
 * import { LocalDriver } from "@effect-sandbox/core"
 * import { driverConformance } from "@effect-sandbox/testing/vitest"
 *
 * const driver = LocalDriver.layer({ isolation: "none" }).pipe(Layer.provide(NodeServices.layer))
 * driverConformance("LocalDriver", driver, { image: "shell", capabilities: { home: true } })
 * ```
 *
 * Checks for which the driver lacks a capability are skipped tests whose names say so, and the report counts them.
 */
import type { SandboxDriver } from "@effect-sandbox/core/SandboxDriver"
import { describe, it, layer as suite } from "@effect/vitest"
import * as Console from "effect/Console"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as DriverConformance from "./DriverConformance.ts"
import type { Check } from "./internal/conformance/check.ts"
import * as resolution from "./internal/conformance/options.ts"
import * as runner from "./internal/conformance/runner.ts"

export interface Options extends DriverConformance.Options {
  /** How long the driver's layer may take to be built and to close. Default: 2 minutes. */
  readonly layerTimeout?: Duration.Input | undefined
  /** Is given the report in the end. Default: it is printed. */
  readonly onReport?: ((report: DriverConformance.Report) => Effect.Effect<void>) | undefined
}

/** A check has its own time limit, and time to wait for its turn. */
const noTimeout = 0

const nameOf = ({ id, marks, title }: Check): string => `${id}: ${title}${marks.map((mark) => ` ${mark}`).join("")}`

/** Holds a driver to the contract: to be called in a test file, at its top or in a `describe`. */
export const driverConformance = <E>(
  name: string,
  layer: Layer.Layer<SandboxDriver, E>,
  { layerTimeout = "2 minutes", onReport, ...options }: Options = {}
): void => {
  const resolving = resolution.resolve(options, DriverConformance.checks)
  if (Result.isFailure(resolving)) {
    describe(name, () => {
      it.effect("options", () => Effect.fail(resolving.failure))
    })
    return
  }
  const resolved = resolving.success
  const { conduct, report } = runner.make(resolved)

  // Drivers of one file take turns; the checks of one run together.
  suite(layer, { concurrent: false, excludeTestServices: true, timeout: layerTimeout })(name, (it) => {
    for (const topic of new Set(resolved.checks.map((check) => check.topic))) {
      describe(topic, { concurrent: true }, () => {
        for (const check of resolved.checks) {
          if (check.topic !== topic) continue
          const missing = resolution.missing(resolved, check)
          if (missing.length > 0) {
            it.effect.skip(`${nameOf(check)} [the driver lacks ${missing.join(", ")}]`, () => Effect.void)
          } else {
            const run = Effect.flatMap(conduct(check), (failure) =>
              failure === undefined ? Effect.void : Effect.fail(failure)
            )
            it.effect(nameOf(check), () => run, noTimeout)
          }
        }
      })
    }

    const without = resolved.checks.filter((check) => resolution.missing(resolved, check).length > 0)
    const lacking = new Set(without.flatMap((check) => resolution.missing(resolved, check)))
    const skipped = without.length === 0 ? "" : `, ${without.length} skipped for lack of ${[...lacking].join(", ")}`
    const tell = Effect.gen(function* () {
      // So that they are in the report as well; it costs nothing.
      yield* Effect.forEach(without, conduct, { discard: true })
      const found = yield* report
      yield* onReport === undefined ? Console.log(DriverConformance.format(found)) : onReport(found)
    })
    it.effect(`report on ${resolved.checks.length} checks${skipped}`, () => tell, {
      concurrent: false,
      timeout: noTimeout
    })
  })
}
