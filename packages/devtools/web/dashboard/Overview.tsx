/** The answers at a glance, and the figures of now. */
import type { EnvironmentState, Finding } from "../../src/internal/dashboard/protocol.ts"
import { count, rate, span } from "./format.ts"
import { pointsOf } from "./state.ts"

const marks: { readonly [level in Finding["level"]]: string } = { good: "✓", idle: "–", warn: "!", bad: "✕" }

const Answer = ({ finding, question }: { readonly finding: Finding; readonly question: string }) => (
  <div class={`answer ${finding.level}`}>
    <span class="sign" aria-hidden="true">
      {marks[finding.level]}
    </span>
    <div>
      <h2>{question}</h2>
      <p class="title">{finding.title}</p>
      <p class="detail">{finding.detail}</p>
    </div>
  </div>
)

const Figure = ({ name, note, value }: { readonly name: string; readonly value: string; readonly note?: string }) => (
  <div class="figure">
    <dt>{name}</dt>
    <dd>
      {value}
      {note !== undefined && <span> {note}</span>}
    </dd>
  </div>
)

export const Overview = ({ environment }: { readonly environment: EnvironmentState }) => {
  const points = pointsOf(environment.id, undefined).slice(-15)
  const mean = (of: "ended" | "failed"): number =>
    points.length === 0 ? 0 : points.reduce((total, point) => total + point[of], 0) / points.length
  const wait = points.at(-1)?.wait
  const sum = (of: (image: EnvironmentState["images"][number]) => number): number =>
    environment.images.reduce((total, image) => total + of(image), 0)
  const most = environment.images.every((image) => image.max !== undefined) ? sum((image) => image.max ?? 0) : undefined
  const waiters = sum((image) => image.waiters)
  return (
    <section aria-label="At a glance">
      <div class="answers">
        <Answer question="Is it healthy?" finding={environment.health} />
        <Answer question="Is the pool the right size?" finding={environment.pool} />
        <Answer question="What fails?" finding={environment.failing} />
      </div>
      <dl class="figures">
        <Figure name="Sessions in flight" value={count(environment.sessions)} />
        <Figure name="Waiting" value={count(waiters)} />
        <Figure
          name="Sandboxes"
          value={count(environment.ledger.live)}
          {...(most === undefined ? {} : { note: `of ${count(most)}` })}
        />
        <Figure name="Sessions" value={rate(mean("ended") + mean("failed"))} note="/s" />
        <Figure name="Failures" value={rate(mean("failed"))} note="/s" />
        <Figure name="Wait, p95" value={wait === undefined ? "–" : span(wait[1])} />
      </dl>
    </section>
  )
}
