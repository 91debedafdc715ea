/** How long features took to be set up and torn down. */
import type * as SandboxEvent from "@effect-sandbox/core/SandboxEvent"
import type { FeatureRow } from "../../Analysis.ts"
import { Capped } from "./capped.ts"
import { Durations } from "./durations.ts"
import { optional } from "./optional.ts"

type Phase = "FeatureSetUp" | "FeatureSessionSetUp" | "FeatureSessionTornDown" | "FeatureTornDown"

interface Row {
  readonly featureId: string
  readonly environmentId: string
  readonly image?: string
  failed: number
  readonly durations: { readonly [phase in Phase]: Durations }
}

const durations = () => ({
  FeatureSetUp: new Durations(),
  FeatureSessionSetUp: new Durations(),
  FeatureSessionTornDown: new Durations(),
  FeatureTornDown: new Durations()
})

export class Features {
  private readonly table = new Capped<Row>(300, () => ({
    featureId: "other",
    environmentId: "other",
    failed: 0,
    durations: durations()
  }))

  add(event: SandboxEvent.Of<Phase>): void {
    const { environmentId, featureId, image } = event
    const row = this.table.of(`${environmentId}\u0000${image ?? ""}\u0000${featureId}`, () => ({
      featureId,
      environmentId,
      ...optional({ image }),
      failed: 0,
      durations: durations()
    }))
    row.durations[event._tag].add(event.durationMillis)
    if (event.error !== undefined) row.failed++
  }

  report(): ReadonlyArray<FeatureRow> {
    return this.table.rows().map(({ durations, ...row }) => ({
      ...row,
      ...optional({
        setUp: durations.FeatureSetUp.summary(),
        sessionSetUp: durations.FeatureSessionSetUp.summary(),
        sessionTeardown: durations.FeatureSessionTornDown.summary(),
        teardown: durations.FeatureTornDown.summary()
      })
    }))
  }
}
