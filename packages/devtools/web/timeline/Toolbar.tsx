import type { ComponentChildren } from "preact"
import { outcomes } from "../../src/internal/timelineData.ts"
import * as format from "./format.ts"
import type { Model } from "./model.ts"
import type { Stage } from "./stage.ts"
import * as state from "./state.ts"
import { outcomeName } from "./things.ts"

/** The answer at a glance. */
export const Headline = ({ model: { data, end, start, summary } }: { readonly model: Model }) => {
  const [fine = 0, user = 0, broken = 0, interrupted = 0, unknown = 0] = summary.byOutcome
  return (
    <div class="headline">
      <h1>{data.meta.title}</h1>
      <dl>
        <Figure label="sessions" value={format.count(summary.sessions)} />
        <Figure
          label="failed"
          value={
            <>
              {user + broken === 0 && "0"}
              {broken > 0 && <span class="state-error">▲ {format.count(broken)}</span>}
              {user > 0 && <span class="user-error">○ {format.count(user)}</span>}
            </>
          }
          title={`${fine} ok, ${format.plural(broken, "state error")}, ${format.plural(user, "user error")}, ${interrupted} interrupted, ${unknown} without an end`}
        />
        <Figure label="in all" value={format.duration(end - start)} title={format.moment(data.meta.origin + start)} />
        <Figure
          label="in flight at most"
          value={summary.max === undefined ? format.count(summary.peak) : `${summary.peak} of ${summary.max}`}
        />
        <Figure
          label="wait, median and 95 %"
          value={`${format.duration(summary.waits.p50)} / ${format.duration(summary.waits.p95)}`}
          title={`At most ${format.duration(summary.waits.max)}; somebody waited for ${format.percent(summary.someWaited)} of the time`}
        />
        {summary.failures > 0 && (
          <Figure label="got no sandbox" value={<span class="user-error">{format.count(summary.failures)}</span>} />
        )}
        <Figure label="sandboxes" value={format.count(summary.sandboxes)} />
        {summary.outages > 0 && (
          <Figure
            label={`outages, ${format.duration(summary.outageMillis)}`}
            value={<span class="state-error">{summary.outages}</span>}
          />
        )}
      </dl>
    </div>
  )
}

const Figure = ({ label, title, value }: { label: string; value: ComponentChildren; title?: string }) => (
  <div title={title}>
    <dt>{label}</dt>
    <dd>{value}</dd>
  </div>
)

export const Toolbar = ({ stage }: { readonly stage: Stage }) => (
  <div class="toolbar" role="toolbar" aria-label="Tools">
    <Search stage={stage} />
    <Filters model={stage.model} />
    <div class="buttons">
      <button type="button" onClick={() => stage.zoomBy(0.6)} aria-label="Zoom in" title="Zoom in (+)">
        +
      </button>
      <button type="button" onClick={() => stage.zoomBy(1 / 0.6)} aria-label="Zoom out" title="Zoom out (-)">
        −
      </button>
      <button type="button" onClick={() => stage.all()} title="Show the whole time (0)">
        All
      </button>
    </div>
    <button
      type="button"
      title="Low or tall lanes (d)"
      aria-pressed={state.density.value === "compact"}
      onClick={() => {
        state.density.value = stage.layout.isCompact ? "full" : "compact"
      }}
    >
      Compact
    </button>
    <label class="select">
      <span class="hidden">Colours</span>
      <select
        value={state.themeChoice.value}
        title="Colours"
        onChange={(event) => {
          state.themeChoice.value = event.currentTarget.value as state.ThemeChoice
        }}
      >
        <option value="auto">Auto</option>
        <option value="light">Light</option>
        <option value="dark">Dark</option>
      </select>
    </label>
    <button
      type="button"
      aria-pressed={state.panelOpen.value}
      title="Show or hide the panel (p)"
      onClick={() => {
        state.panelOpen.value = !state.panelOpen.value
      }}
    >
      Panel
    </button>
    <button
      type="button"
      aria-label="Help"
      title="Keys (?)"
      onClick={() => {
        state.helpOpen.value = true
      }}
    >
      ?
    </button>
  </div>
)

let timer: ReturnType<typeof setTimeout> | undefined

const Search = ({ stage }: { readonly stage: Stage }) => {
  const { matches } = stage.found.value
  const isSearching = state.query.value.trim() !== ""
  return (
    <form
      class="search"
      role="search"
      onSubmit={(event) => {
        event.preventDefault()
        stage.next(1)
      }}
    >
      <input
        id="search"
        type="search"
        placeholder="Search ids, errors, activities (/)"
        aria-label="Search ids, error tags, messages and names of activities"
        value={state.query.value}
        onInput={({ currentTarget }) => {
          clearTimeout(timer)
          timer = setTimeout(() => stage.find(currentTarget.value), 120)
        }}
        onKeyDown={(event) => {
          if (event.key !== "Enter") return
          event.preventDefault()
          clearTimeout(timer)
          stage.find(event.currentTarget.value)
          stage.next(event.shiftKey ? -1 : 1)
        }}
      />
      {isSearching && (
        <span class="found" role="status">
          {matches.length === 0
            ? "nothing found"
            : `${stage.current.value < 0 ? "" : `${format.count(stage.current.value + 1)} of `}${format.count(matches.length)}`}
        </span>
      )}
      {isSearching && matches.length > 0 && (
        <>
          <button type="button" aria-label="Previous match" title="Previous match (N)" onClick={() => stage.next(-1)}>
            ‹
          </button>
          <button type="button" aria-label="Next match" title="Next match (n)" onClick={() => stage.next(1)}>
            ›
          </button>
        </>
      )}
    </form>
  )
}

const toggled = (names: ReadonlyArray<string>, name: string): ReadonlyArray<string> =>
  names.includes(name) ? names.filter((one) => one !== name) : [...names, name]

const Filters = ({ model }: { readonly model: Model }) => {
  const { value: filters } = state.filters
  const set = (change: Partial<state.Filters>) => {
    state.filters.value = { ...filters, ...change }
  }
  const environments = [...new Set(model.groups.map((group) => group.environment))]
  const images = [...new Set(model.groups.map((group) => group.image).filter(Boolean))]
  const choice = (label: string, value: string, all: ReadonlyArray<string>, change: (value: string) => void) => (
    <label class="row">
      <span>{label}</span>
      <select value={value} onChange={(event) => change(event.currentTarget.value)}>
        <option value="">All</option>
        {all.map((name) => (
          <option key={name} value={name}>
            {name}
          </option>
        ))}
      </select>
    </label>
  )
  return (
    <details class="filters">
      <summary class={state.isFiltered.value ? "active" : ""}>{state.isFiltered.value ? "Filtered" : "Filter"}</summary>
      <div class="popover">
        {choice("Environment", filters.environment, environments, (environment) => set({ environment }))}
        {choice("Image", filters.image, images, (image) => set({ image }))}
        <label class="check">
          <input
            type="checkbox"
            checked={filters.onlyErrors}
            onChange={(event) => set({ onlyErrors: event.currentTarget.checked })}
          />
          Only lanes with errors
        </label>
        <fieldset>
          <legend>Outcome</legend>
          {outcomes.map((name, index) => (
            <label class="check" key={name}>
              <input
                type="checkbox"
                checked={!filters.hiddenOutcomes.includes(name)}
                onChange={() => set({ hiddenOutcomes: toggled(filters.hiddenOutcomes, name) })}
              />
              {outcomeName(index)}
            </label>
          ))}
        </fieldset>
        <fieldset>
          <legend>Kind</legend>
          {state.kindGroups.map(({ label, name }) => (
            <label class="check" key={name}>
              <input
                type="checkbox"
                checked={!filters.hiddenKinds.includes(name)}
                onChange={() => set({ hiddenKinds: toggled(filters.hiddenKinds, name) })}
              />
              {label}
            </label>
          ))}
        </fieldset>
        <button
          type="button"
          disabled={!state.isFiltered.value}
          onClick={() => {
            state.filters.value = state.noFilters
          }}
        >
          Show everything
        </button>
      </div>
    </details>
  )
}

const legend = [
  ["status-setting-up", "setting up"],
  ["status-ready", "ready"],
  ["status-acquired", "acquired"],
  ["status-in-session", "in session"],
  ["status-exiting", "ending a session"],
  ["status-down", "shutting down"]
] as const

const bars = [
  ["bar-session", "session"],
  ["bar-activity", "activity"],
  ["bar-set-up", "set-up"],
  ["bar-tear-down", "teardown"],
  ["bar-user-error", "user error"],
  ["bar-state-error", "state error"],
  ["bar-interrupted", "interrupted"],
  ["bar-unknown", "no end seen"],
  ["outage", "outage"]
] as const

export const Legend = () => (
  <footer class="legend" aria-label="Legend">
    <ul>
      {legend.map(([name, label]) => (
        <li key={name}>
          <i class={`strip ${name}`} />
          {label}
        </li>
      ))}
    </ul>
    <ul>
      {bars.map(([name, label]) => (
        <li key={name}>
          <i class={name} />
          {label}
        </li>
      ))}
    </ul>
    <ul>
      <li>
        <span class="state-error">▲</span>state error
      </li>
      <li>
        <span class="user-error">○</span>user error
      </li>
      <li>
        <span class="user-error">✕</span>got no sandbox
      </li>
      <li>
        <span class="joint">┃▸</span>next generation
      </li>
    </ul>
  </footer>
)
