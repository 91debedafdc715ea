/** The event log: live, or held still; filtered; and further back than the page remembers. */
import { computed, effect, signal } from "@preact/signals"
import type { EnvironmentState, LogEntry } from "../../src/internal/dashboard/protocol.ts"
import * as api from "./api.ts"
import { clock, count, words } from "./format.ts"
import { environment as shownEnvironment, log, missed, openSandbox } from "./state.ts"

const groups: { readonly [name: string]: ReadonlyArray<string> } = {
  Sessions: ["SessionStarted", "SessionEnded", "AcquireFailed"],
  Sandboxes: ["SandboxStarted", "SandboxStatusChanged", "SandboxShutDown"],
  Activities: ["SandboxActivity", "FeatureActivity"],
  Features: ["FeatureSetUp", "FeatureTornDown", "FeatureSessionSetUp", "FeatureSessionTornDown"],
  Housekeeping: ["EnvironmentHousekeepingDone", "SandboxHousekeepingDone", "FeatureHousekeepingDone"],
  Environment: [
    "EnvironmentStarting",
    "EnvironmentStarted",
    "EnvironmentDraining",
    "EnvironmentShuttingDown",
    "EnvironmentShutDown",
    "ImageOutageStarted",
    "ImageOutageEnded",
    "ActionRequested"
  ]
}

const outcomes: { readonly [title: string]: ReadonlyArray<string> } = {
  "Went well": ["ok"],
  "All errors": ["state_error", "user_error"],
  "Sandbox condemned": ["state_error"],
  "Error of the user": ["user_error"],
  Interrupted: ["interrupted"]
}

const group = signal("")
const image = signal("")
const outcome = signal("")
const text = signal("")
/** The log as it was when it was held. */
const held = signal<ReadonlyArray<LogEntry> | undefined>(undefined)
/** What the server found for these filters. */
const older = signal<ReadonlyArray<LogEntry>>([])
const before = signal<number | undefined>(undefined)
const problem = signal<string | undefined>(undefined)
const opened = signal<number | undefined>(undefined)
const rows = signal(100)

const query = computed(() => ({
  environment: shownEnvironment.value?.id,
  kind: groups[group.value],
  image: image.value,
  outcome: outcomes[outcome.value],
  text: text.value.trim()
}))

const accepts = computed<(entry: LogEntry) => boolean>(() => {
  const { environment, image, kind, outcome, text } = query.value
  const kinds = kind === undefined ? undefined : new Set(kind)
  const accepted = outcome === undefined ? undefined : new Set(outcome)
  const wanted = text.toLowerCase()
  return ({ event, outcome, text }) =>
    event.environmentId === environment &&
    (kinds === undefined || kinds.has(event._tag)) &&
    (image === "" || ("image" in event && event.image === image)) &&
    (accepted === undefined || accepted.has(outcome)) &&
    text.toLowerCase().includes(wanted)
})

const entries = computed<ReadonlyArray<LogEntry>>(() => {
  const bySeq = new Map<number, LogEntry>()
  for (const entry of held.value ?? log.value) if (accepts.value(entry)) bySeq.set(entry.seq, entry)
  for (const entry of older.value) if (!bySeq.has(entry.seq)) bySeq.set(entry.seq, entry)
  return [...bySeq.values()].sort((a, b) => b.seq - a.seq)
})

const search = async (from?: number): Promise<void> => {
  const asked = query.value
  const answer = await api.history({ ...asked, limit: "100", before: from === undefined ? undefined : String(from) })
  if (asked !== query.value) return // another filter has been chosen meanwhile
  if ("problem" in answer) {
    problem.value = answer.problem
    return
  }
  problem.value = undefined
  older.value = from === undefined ? answer.value.entries : [...older.value, ...answer.value.entries]
  before.value = answer.value.before
}

let typing = 0
effect(() => {
  if (query.value.environment === undefined) return
  older.value = []
  before.value = undefined
  rows.value = 100
  clearTimeout(typing)
  typing = setTimeout(() => void search(), 200)
})
// A server that was started anew knows nothing of what was found before.
effect(() => {
  if (log.value.length === 0) older.value = []
})

const more = (): void => {
  rows.value += 100
  const oldest = entries.value.at(-1)?.seq
  if (entries.value.length < rows.value && oldest !== undefined) void search(before.value ?? oldest)
}

export const EventLog = ({ environment }: { readonly environment: EnvironmentState }) => {
  const shown = entries.value.slice(0, rows.value)
  const waiting = held.value === undefined ? 0 : log.value.findIndex((entry) => entry.seq === held.value?.[0]?.seq)
  const isFiltered = group.value + image.value + outcome.value + text.value !== ""
  return (
    <section class="card log" aria-label="Event log">
      <div class="bar">
        <h2>Events</h2>
        <Select label="Kind" value={group.value} onChange={(value) => (group.value = value)}>
          <option value="">All kinds</option>
          {Object.keys(groups).map((name) => (
            <option key={name}>{name}</option>
          ))}
        </Select>
        <Select label="Image" value={image.value} onChange={(value) => (image.value = value)}>
          <option value="">All images</option>
          {environment.images.map((one) => (
            <option key={one.image}>{one.image}</option>
          ))}
        </Select>
        <Select label="Outcome" value={outcome.value} onChange={(value) => (outcome.value = value)}>
          <option value="">All outcomes</option>
          {Object.keys(outcomes).map((name) => (
            <option key={name}>{name}</option>
          ))}
        </Select>
        <span class="find">
          <input
            aria-label="Text"
            type="search"
            placeholder="Text, sandbox or session"
            value={text.value}
            onInput={(event) => (text.value = event.currentTarget.value)}
          />
        </span>
        <span class="spring" />
        <button
          type="button"
          aria-pressed={held.value !== undefined}
          onClick={() => (held.value = held.value === undefined ? log.value : undefined)}
        >
          {held.value === undefined
            ? "Pause"
            : waiting === 0
              ? "Resume"
              : `Resume (${waiting < 0 ? "1,000+" : count(waiting)} new)`}
        </button>
      </div>
      {problem.value !== undefined && (
        <p class="notice warn" role="alert">
          {problem.value}
        </p>
      )}
      <ol class="entries">
        {shown.map((entry) => (
          <Entry key={entry.seq} entry={entry} />
        ))}
      </ol>
      {shown.length === 0 && (
        <p class="empty">{isFiltered ? "No event fits these filters." : "Nothing has happened yet."}</p>
      )}
      <div class="bar foot">
        <button type="button" class="quiet" onClick={more} disabled={shown.length === 0}>
          Older events
        </button>
        <span class="spring" />
        {missed.value > 0 && (
          <span class="note">{count(missed.value)} events came too fast to be shown here; filters find them</span>
        )}
      </div>
    </section>
  )
}

interface SelectProps {
  readonly label: string
  readonly value: string
  readonly onChange: (value: string) => void
  readonly children: preact.ComponentChildren
}

const Select = ({ children, label, onChange, value }: SelectProps) => (
  <select aria-label={label} value={value} onChange={(event) => onChange(event.currentTarget.value)}>
    {children}
  </select>
)

/** A line that opens into everything that the event says; where only one sandbox is told of, it is not named again. */
export const Entry = ({ entry, isNamed = true }: { readonly entry: LogEntry; readonly isNamed?: boolean }) => {
  const { event, outcome, seq } = entry
  const isOpen = opened.value === seq
  const sandboxId = "sandboxId" in event ? event.sandboxId : undefined
  return (
    <li class={outcome}>
      <div class="line">
        <button
          type="button"
          class="summary"
          aria-expanded={isOpen}
          onClick={() => (opened.value = isOpen ? undefined : seq)}
        >
          <time>{clock(event.timestamp)}</time>
          <span class="kind">{words(event._tag)}</span>
          <span class="text">
            {isNamed || sandboxId === undefined
              ? entry.text
              : entry.text.replace(`${sandboxId} `, "").replace(`in ${sandboxId}, `, "")}
          </span>
        </button>
        {sandboxId !== undefined && openSandbox.value === undefined && (
          <button
            type="button"
            class="quiet jump"
            aria-label={`History of ${sandboxId}`}
            title={`History of ${sandboxId}`}
            onClick={() => (openSandbox.value = sandboxId)}
          >
            ▸
          </button>
        )}
      </div>
      {isOpen && (
        <dl class="details">
          {Object.entries(event).map(([name, value]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{typeof value === "object" ? JSON.stringify(value, null, 2) : String(value)}</dd>
            </div>
          ))}
        </dl>
      )}
    </li>
  )
}
