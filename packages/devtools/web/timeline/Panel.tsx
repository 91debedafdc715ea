import type { ComponentChildren } from "preact"
import * as format from "./format.ts"
import { outcomes } from "../../src/internal/timelineData.ts"
import { type Model, type PoolUse, stateError, userError } from "./model.ts"
import type { SceneLane } from "./scene.ts"
import type { Stage } from "./stage.ts"
import * as state from "./state.ts"
import { describe, kindName, laneTitle, outcomeName, spanTitle } from "./things.ts"
import { firstVisible } from "./tracks.ts"

const tabs = [
  ["summary", "Summary"],
  ["details", "Details"],
  ["lane", "Lane"]
] as const

export const Panel = ({ stage }: { readonly stage: Stage }) => {
  const { value: open } = state.tab
  return (
    <aside class="panel" aria-label="Details">
      <div class="tabs">
        <div role="tablist" aria-label="What the panel shows">
          {tabs.map(([name, label]) => (
            <button
              key={name}
              type="button"
              role="tab"
              id={`tab-${name}`}
              aria-selected={open === name}
              aria-controls="panel-body"
              tabIndex={open === name ? 0 : -1}
              onClick={() => {
                state.tab.value = name
              }}
              onKeyDown={(event) => {
                const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0
                if (step === 0) return
                const next = tabs[(tabs.findIndex(([one]) => one === name) + step + tabs.length) % tabs.length]!
                state.tab.value = next[0]
                document.getElementById(`tab-${next[0]}`)?.focus()
                event.preventDefault()
              }}
            >
              {label}
            </button>
          ))}
        </div>
        <button
          type="button"
          class="close"
          aria-label="Hide the panel"
          onClick={() => {
            state.panelOpen.value = false
          }}
        >
          ×
        </button>
      </div>
      <div class="body" id="panel-body" role="tabpanel" aria-labelledby={`tab-${open}`} tabIndex={0}>
        {open === "summary" && <SummaryTab stage={stage} />}
        {open === "details" && <Details stage={stage} />}
        {open === "lane" && <LaneTable stage={stage} />}
      </div>
    </aside>
  )
}

// ---------------------------------------------------------------------------------------------------------------------
// Summary
// ---------------------------------------------------------------------------------------------------------------------

/** What the verdict on a pool does not say: how full it was, and whether anybody waited. */
export const usage = ({ full, max, peak, someWaited }: PoolUse): string => {
  const use =
    max === undefined || max === 0
      ? `At most ${peak} were in use at once`
      : peak >= max
        ? `All ${max} were in use for ${format.percent(full)} of the time`
        : `At most ${peak} of ${max} were in use at once`
  return `${use}; somebody waited for ${format.percent(someWaited)} of it.`
}

const SummaryTab = ({ stage }: { readonly stage: Stage }) => {
  const { model } = stage
  const { data, summary } = model
  const span = (index: number, value: number) => (
    <Jump key={index} stage={stage} selection={{ kind: "span", index }} value={format.duration(value)}>
      <Sign outcome={data.spans.outcome[index]!} />
      {spanTitle(model, index)}
    </Jump>
  )
  return (
    <>
      <h2 id="panel-title" tabIndex={-1}>
        At a glance
      </h2>
      {summary.pools.map((use) => {
        const image = data.strings.at(data.pools.image[use.pool]!)
        const environment = data.strings.at(data.environments.name[data.pools.environment[use.pool]!]!)
        const verdict = data.meta.verdicts.find((one) => one.image === image && one.environment === environment)
        return (
          <p key={use.pool}>
            <b>{image}</b> {verdict === undefined ? "" : `${verdict.text}. `}
            {usage(use)}
            {use.outage > 0.01 && ` An outage lasted for ${format.percent(use.outage)} of it.`}
          </p>
        )
      })}
      <p>Sessions had {format.percent(summary.utilisation)} of the time of all sandboxes.</p>
      <dl class="facts">
        <Line label="Sessions">
          {`${format.duration(summary.lengths.p50)} in the median, 95 % within ${format.duration(summary.lengths.p95)}`}
        </Line>
        <Line label="Waits">
          {`${format.duration(summary.waits.p50)} in the median, 95 % within ${format.duration(summary.waits.p95)}, at most ${format.duration(summary.waits.max)}`}
        </Line>
        <Line label="Starts">
          {`${format.duration(summary.starts.p50)} in the median, 95 % within ${format.duration(summary.starts.p95)}${summary.failedStarts === 0 ? "" : `, ${format.count(summary.failedStarts)} failed`}`}
        </Line>
        {summary.failures > 0 && <Line label="Got no sandbox">{format.count(summary.failures)}</Line>}
        {summary.unfinished > 0 && <Line label="Without an end">{format.count(summary.unfinished)}</Line>}
        <Line label="Events">{format.count(data.meta.events)}</Line>
      </dl>
      <Section title="What failed" isEmpty={summary.errors.length === 0} empty="Nothing failed.">
        {summary.errors.map(({ count, message, outcome, span: first, tag }) => (
          <Jump
            key={`${tag} ${outcome}`}
            stage={stage}
            selection={{ kind: "span", index: first }}
            value={`${format.count(count)} ×`}
            note={message}
          >
            <Sign outcome={outcome} />
            {tag}
          </Jump>
        ))}
      </Section>
      {data.outages.length > 0 && (
        <Section title="Outages">
          {Array.from({ length: Math.min(5, data.outages.length) }, (_, index) => (
            <Jump
              key={index}
              stage={stage}
              selection={{ kind: "outage", index }}
              value={format.duration(data.outages.duration[index]!)}
              note={data.strings.at(data.errors.message[data.outages.error[index]!] ?? -1)}
            >
              {data.strings.at(data.pools.image[data.outages.pool[index]!]!)}
            </Jump>
          ))}
        </Section>
      )}
      {data.failures.length > 0 && (
        <Section title="Got no sandbox">
          {Array.from({ length: Math.min(5, data.failures.length) }, (_, index) => (
            <Jump
              key={index}
              stage={stage}
              selection={{ kind: "failure", index }}
              value={format.duration(data.failures.waited[index]!)}
            >
              {data.strings.at(data.errors.tag[data.failures.error[index]!] ?? -1) || "waited in vain"}
            </Jump>
          ))}
        </Section>
      )}
      <Section title="Slowest sessions" isEmpty={summary.slowestSessions.length === 0}>
        {summary.slowestSessions.map((index) => span(index, data.spans.duration[index]!))}
      </Section>
      <Section title="Longest waits for a sandbox" isEmpty={summary.longestWaits.length === 0} empty="Nobody waited.">
        {summary.longestWaits.map((index) => span(index, data.sessions.waited[data.spans.session[index]!]!))}
      </Section>
      <Section title="Where time went" isEmpty={summary.names.length === 0}>
        {summary.names.map(({ count, failed, kind, name, p95, slowest, total }) => (
          <Jump
            key={slowest}
            stage={stage}
            selection={{ kind: "span", index: slowest }}
            value={format.duration(total)}
            note={`${kindName(kind)}, ${format.count(count)} ×, 95 % within ${format.duration(p95)}${failed === 0 ? "" : `, ${format.count(failed)} failed`}`}
          >
            {name}
          </Jump>
        ))}
      </Section>
    </>
  )
}

const Section = ({
  children,
  empty,
  isEmpty = false,
  title
}: {
  title: string
  children: ComponentChildren
  isEmpty?: boolean
  empty?: string
}) => {
  if (isEmpty && empty === undefined) return null
  return (
    <section>
      <h3>{title}</h3>
      {isEmpty ? <p class="faint">{empty}</p> : <ul class="jumps">{children}</ul>}
    </section>
  )
}

const Jump = ({
  children,
  note,
  selection,
  stage,
  value
}: {
  stage: Stage
  selection: state.Selection
  children: ComponentChildren
  value: string
  note?: string
}) => (
  <li>
    <button type="button" onClick={() => stage.reveal(selection)}>
      <span class="name">{children}</span>
      <span class="value">{value}</span>
      {note !== undefined && note !== "" && <span class="note">{note}</span>}
    </button>
  </li>
)

/** The same signs as in the lanes. */
const Sign = ({ outcome }: { readonly outcome: number }) =>
  outcome === stateError ? (
    <span class="state-error">▲ </span>
  ) : outcome === userError ? (
    <span class="user-error">○ </span>
  ) : null

const Line = ({ children, label }: { label: string; children: ComponentChildren }) => (
  <div>
    <dt>{label}</dt>
    <dd>{children}</dd>
  </div>
)

// ---------------------------------------------------------------------------------------------------------------------
// Details
// ---------------------------------------------------------------------------------------------------------------------

const Details = ({ stage }: { readonly stage: Stage }) => {
  const { value: selected } = state.selection
  if (selected === undefined) {
    return (
      <>
        <h2 id="panel-title" tabIndex={-1}>
          Details
        </h2>
        <p class="faint">Nothing is selected. Click on a bar, or choose one with Shift and the arrow keys.</p>
      </>
    )
  }
  const { facts, kind, outcome, title } = describe(stage.model, selected)
  return (
    <>
      <p class="kind">{kind}</p>
      <h2 id="panel-title" tabIndex={-1} class="thing">
        <Sign outcome={outcomes.findIndex((name) => name === outcome)} />
        {title}
      </h2>
      <dl class="facts">
        {facts.map(({ isLong, label, link, value }, index) => (
          <div key={index} class={isLong ? "long" : ""}>
            <dt>{label}</dt>
            <dd>
              {link === undefined ? (
                value
              ) : (
                <button type="button" class="link" onClick={() => stage.reveal(link)}>
                  {value}
                </button>
              )}
            </dd>
          </div>
        ))}
      </dl>
    </>
  )
}

// ---------------------------------------------------------------------------------------------------------------------
// The lane as a table
// ---------------------------------------------------------------------------------------------------------------------

const mostRows = 200

const LaneTable = ({ stage }: { readonly stage: Stage }) => {
  void stage.shown.value // another scene has other lanes
  const { model, scene } = stage
  const index = state.lane.value ?? scene.lanes[0]?.lane.index
  const found = scene.lanes.find(({ lane }) => lane.index === index)
  const choose = (
    <label class="row">
      <span>Lane</span>
      <select
        value={index}
        onChange={(event) => {
          state.lane.value = Number(event.currentTarget.value)
          stage.moveLane(0)
        }}
      >
        {scene.lanes.map(({ lane }) => (
          <option key={lane.index} value={lane.index}>
            {laneTitle(lane)}
          </option>
        ))}
      </select>
    </label>
  )
  if (found === undefined) {
    return (
      <>
        <h2 id="panel-title" tabIndex={-1}>
          Lane
        </h2>
        <p class="faint">No lane is shown.</p>
      </>
    )
  }
  const { from, until } = stage.settled.value
  const rows = rowsOf(stage, found, from, until)
  return (
    <>
      <h2 id="panel-title" tabIndex={-1} class="thing">
        {laneTitle(found.lane)}
      </h2>
      {choose}
      <table>
        <caption>
          {rows.length > mostRows
            ? `The first ${mostRows} of what is seen`
            : `${format.plural(rows.length, "thing")} in the time that is seen`}
        </caption>
        <thead>
          <tr>
            <th scope="col">What</th>
            <th scope="col">At</th>
            <th scope="col">Took</th>
            <th scope="col">Outcome</th>
          </tr>
        </thead>
        <tbody>
          {rows.slice(0, mostRows).map((span) => (
            <Row key={span} model={model} span={span} stage={stage} />
          ))}
        </tbody>
      </table>
    </>
  )
}

const Row = ({ model, span, stage }: { model: Model; span: number; stage: Stage }) => {
  const { spans } = model.data
  const outcome = spans.outcome[span]!
  const selected = state.selection.value
  return (
    <tr aria-current={selected?.kind === "span" && selected.index === span ? "true" : undefined}>
      <th scope="row" class={`depth-${Math.min(2, spans.row[span]!)}`}>
        <button type="button" class="link" onClick={() => stage.reveal({ kind: "span", index: span })}>
          {spanTitle(model, span)}
        </button>
        <span class="note">{kindName(spans.kind[span]!)}</span>
      </th>
      <td>+{format.duration(spans.start[span]! - model.start)}</td>
      <td>{format.duration(spans.duration[span]!)}</td>
      <td class={outcome === stateError ? "state-error" : outcome === userError ? "user-error" : ""}>
        {outcomeName(outcome)}
      </td>
    </tr>
  )
}

const rowsOf = ({ scene }: Stage, lane: SceneLane, from: number, until: number): ReadonlyArray<number> => {
  const { spans } = scene
  const found: Array<number> = []
  for (const row of lane.rows) {
    for (let i = firstVisible(spans, row, from); i < row.to && spans.start[i]! < until; i++) {
      if (spans.end[i]! >= from) found.push(spans.ids[i]!)
      // Enough for what is shown of each row, and to say that there is more.
      if (found.length > mostRows * lane.rows.length) break
    }
  }
  const { start } = scene.model.data.spans
  return found.sort((a, b) => start[a]! - start[b]! || a - b)
}
