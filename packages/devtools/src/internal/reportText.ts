/** The sections of a report in a terminal: what matters first, and what is empty left out. */
import type * as Analysis from "../Analysis.ts"
import {
  type Cell,
  type Column,
  fit,
  oneLine,
  type Paint,
  painter,
  resample,
  sparkline,
  type Style,
  table,
  wrap
} from "./terminal.ts"
import { count, counted, duration, moment, percent } from "./words.ts"

export interface Settings {
  readonly width: number
  readonly colors: boolean
  readonly rows: number
}

interface Frame extends Settings {
  readonly paint: Paint
  /** Whether names need their environment. */
  readonly hasMany: boolean
  /** A moment of the report: with the day, when it is about more than one. */
  readonly clock: (at: number) => string
}

const day = 86_400_000

type Lines = ReadonlyArray<string>

export const sections = (report: Analysis.Report, settings: Settings): ReadonlyArray<Lines> => {
  if (report.span === undefined) return [["No events."]]
  const { from, until } = report.span
  const isOneDay = Math.floor(from / day) === Math.floor(until / day)
  const frame: Frame = {
    ...settings,
    paint: painter(settings.colors),
    hasMany: report.environments.length > 1,
    clock: (at) => moment(at).slice(isOneDay ? 11 : 5)
  }
  return [
    header(report, frame),
    verdicts(report, frame),
    ...course(report, frame),
    pools(report, frame),
    latencies(report, frame),
    failures(report, frame),
    slowest(report, frame),
    activities(report, frame),
    features(report, frame),
    outages(report, frame),
    endings(report, frame),
    leaks(report, frame)
  ].filter((lines) => lines.length > 0)
}

// ---------------------------------------------------------------------------------------------------------------------
// At a glance
// ---------------------------------------------------------------------------------------------------------------------

const header = ({ environments, events, span }: Analysis.Report, { hasMany, paint, width }: Frame): Lines => {
  const { from = 0, until = 0 } = span ?? {}
  const who = hasMany ? counted(environments.length, "environment") : oneLine(environments[0]?.environmentId ?? "")
  const when = `${moment(from)} to ${moment(until)} UTC, ${duration(until - from)}, ${counted(events.total, "event")}`
  return [paint("bold", fit(who, width)), ...wrap(when, width, "").map((line) => paint("dim", line))]
}

const marks: { readonly [fit in Analysis.Fit]: readonly [mark: string, style: Style] } = {
  TooSmall: ["✗", "red"],
  Outage: ["✗", "red"],
  TooFewKept: ["!", "yellow"],
  LargerThanNeeded: ["!", "yellow"],
  Unknown: ["?", "yellow"],
  Fits: ["✓", "green"],
  Unused: ["·", "dim"],
  NotPooled: ["·", "dim"]
}

const good = ["✓", "green"] as const
const bad = ["✗", "red"] as const
const note = ["!", "yellow"] as const

/** The answers: was the pool the right size, and did things go well? */
const verdicts = (report: Analysis.Report, frame: Frame): Lines => {
  const lines: Array<string> = []
  const say = ([mark, style]: readonly [mark: string, style: Style], text: string): void => {
    const [first = "", ...rest] = wrap(oneLine(text), frame.width - 2, "  ")
    lines.push(`${frame.paint(style, mark)} ${first}`, ...rest.map((line) => `  ${line.trimStart()}`))
  }
  const listed = worthTelling(report.images)
  for (const image of listed.slice(0, frame.rows)) {
    say(marks[image.verdict.fit], verdictOf(image, frame))
  }
  if (listed.length > frame.rows) say(marks.Unused, `${listed.length - frame.rows} more pools are in the JSON report`)

  const { failed, interrupted, ok, running, total } = sessionsOf(report)
  if (total + running > 0) {
    const others = [
      failed === 0 ? "" : `${count(failed)} failed`,
      interrupted === 0 ? "" : `${count(interrupted)} were interrupted`,
      running === 0 ? "" : `${count(running)} still run`
    ].filter((one) => one !== "")
    const all = ok === total && total > 0 ? "all of them went well" : `${count(ok)} went well`
    say(failed > 0 ? note : good, `${counted(total + running, "session")}: ${[all, ...others].join(", ")}`)
  }
  const unserved = report.images.reduce((sum, { acquires }) => sum + acquires.failed, 0)
  if (unserved > 0) say(note, `${counted(unserved, "caller")} got no sandbox`)
  const outageCount = report.images.reduce((sum, { outages }) => sum + outages.count, 0)
  if (outageCount > 0) {
    const lasting = report.outages.filter(({ end }) => end === "Lasts").length
    const millis = report.images.reduce((sum, { outages }) => sum + outages.millis, 0)
    const now = lasting === 0 ? "" : `, of which ${count(lasting)} ${lasting === 1 ? "lasts" : "last"}`
    say(lasting > 0 ? bad : note, `${counted(outageCount, "outage")}, ${duration(millis)} in all${now}`)
  }
  const { abandoned, leaked, notTakenDown } = report.leaks
  if (leaked > 0) say(bad, `${counted(leaked, "leak")}: what began and never ended`)
  if (notTakenDown > 0)
    say(bad, `${counted(notTakenDown, "sandbox")} could not be taken down completely`.replace("sandboxs", "sandboxes"))
  if (abandoned > 0) say(note, `${count(abandoned)} things were abandoned by a process that died`)
  if (report.contradictions.total > 0) {
    say(note, `${counted(report.contradictions.total, "contradiction")}: events are missing, or a rule was broken`)
  }
  if (leaked + notTakenDown + abandoned + report.contradictions.total === 0) {
    const { environments, sandboxes, sessions } = report.open
    say(
      good,
      environments === 0
        ? "Nothing was left behind"
        : `Nothing was left behind; ${counted(environments, "environment")} still ${environments === 1 ? "lives" : "live"}, with ${count(sandboxes)} sandboxes and ${counted(sessions, "session")}`
    )
  }
  return lines
}

/** "too small: …" as a sentence: "The pool of python was too small: …". */
const verdictOf = (image: Analysis.ImageReport, frame: Frame): string => {
  const name = nameOf(image, frame)
  const { fit, text } = image.verdict
  if (fit === "NotPooled") return `Sandboxes of ${name} are ${text}`
  return `The pool of ${name} ${fit === "Fits" || fit === "Outage" || fit === "Unknown" ? "" : "was "}${text}`
}

/** Pools that did something, the busiest first. */
const worthTelling = (images: ReadonlyArray<Analysis.ImageReport>): ReadonlyArray<Analysis.ImageReport> =>
  images
    .filter(({ acquires, sandboxes }) => sandboxes.created + sandboxes.live + acquires.served + acquires.failed > 0)
    .toSorted((a, b) => b.acquires.served - a.acquires.served)

const sessionsOf = ({ images }: Analysis.Report) => {
  const sum = { ok: 0, failed: 0, interrupted: 0, running: 0, total: 0 }
  for (const { sessions } of images) {
    const { interrupted, ok, state_error, user_error } = sessions.outcomes
    sum.ok += ok
    sum.failed += state_error + user_error
    sum.interrupted += interrupted
    sum.running += sessions.running
    sum.total += ok + state_error + user_error + interrupted
  }
  return sum
}

const nameOf = (one: { readonly environmentId: string; readonly image: string }, { hasMany }: Frame): string =>
  hasMany ? `${one.environmentId}/${one.image}` : one.image

// ---------------------------------------------------------------------------------------------------------------------
// Over time
// ---------------------------------------------------------------------------------------------------------------------

/** How each of the busiest pools was used over time. */
const course = (report: Analysis.Report, frame: Frame): ReadonlyArray<Lines> => {
  const { paint, width } = frame
  const labels = ["in session", "live", "waiting"]
  const indent = `  ${" ".repeat(Math.max(...labels.map((label) => label.length)))}  `
  const room = Math.max(20, Math.min(100, width - indent.length - 26))
  const shown = worthTelling(report.images).filter(({ series }) => series.length > 1)
  return shown.slice(0, 4).map((image) => {
    const values = (of: (bucket: Analysis.Bucket) => number) => resample(image.series.map(of), room)
    const live = values((bucket) => bucket.live)
    const waiting = values((bucket) => bucket.waiting)
    const most = Math.max(image.pool?.max ?? 0, image.peak.live)
    const mostWaiting = Math.max(...waiting)
    const length = live.length
    const row = (label: string, line: string, style: Style, fact: string): string =>
      `  ${label.padEnd(indent.length - 4)}  ${paint(style, line)}${" ".repeat(Math.max(0, length - line.length))}  ${paint("dim", fact)}`
    const span = report.span ?? { from: 0, until: 0 }
    const from = frame.clock(span.from)
    const until = frame.clock(span.until)
    return [
      paint("bold", fit(oneLine(nameOf(image, frame)), width)),
      row(
        "in session",
        sparkline(
          values((bucket) => bucket.inSession),
          most
        ),
        "green",
        `${percent(image.utilisation ?? 0)} of live time`
      ),
      row(
        "live",
        sparkline(live, most),
        "cyan",
        `at most ${image.peak.live}${image.pool?.max === undefined ? "" : ` of ${image.pool.max}`}`
      ),
      ...(mostWaiting > 0
        ? [row("waiting", sparkline(waiting, mostWaiting), "yellow", `at most ${Math.max(1, Math.round(mostWaiting))}`)]
        : []),
      paint("dim", indent + from + " ".repeat(Math.max(1, length - from.length - until.length)) + until)
    ]
  })
}

const titled = (
  title: string,
  columns: ReadonlyArray<Column>,
  rows: ReadonlyArray<ReadonlyArray<Cell>>,
  frame: Frame,
  all = rows.length
): Lines => {
  if (rows.length === 0) return []
  const more = all > frame.rows ? ` (the first ${frame.rows} of ${count(all)})` : ""
  return [frame.paint("bold", title) + frame.paint("dim", more), ...table(columns, rows.slice(0, frame.rows), frame)]
}

const right = "right" as const

const pools = (report: Analysis.Report, frame: Frame): Lines =>
  titled(
    "Pools",
    [
      { title: "image", min: 12 },
      { title: "size", align: right },
      { title: "most live", align: right, isOptional: true },
      { title: "most used", align: right },
      { title: "in session", align: right },
      { title: "setting up", align: right, isOptional: true },
      { title: "ready", align: right, isOptional: true },
      { title: "full", align: right, isOptional: true },
      { title: "started", align: right, isOptional: true },
      { title: "sessions", align: right, isOptional: true }
    ],
    worthTelling(report.images).map((image) => {
      const { peak, pool, sandboxes, sessions, statusMillis, verdict } = image
      const all = Object.values(statusMillis).reduce((sum, millis) => sum + millis, 0)
      const share = (millis: number): string => (all > 0 ? percent(millis / all) : "–")
      return [
        nameOf(image, frame),
        pool === undefined ? "?" : pool.max === undefined ? "none" : `${pool.min}–${pool.max}`,
        count(peak.live),
        count(peak.inUse),
        share(statusMillis.InSession),
        share(statusMillis.SettingUp),
        share(statusMillis.Ready),
        percent(verdict.fullShare),
        count(sandboxes.created),
        count(sessions.started)
      ]
    }),
    frame
  )

const percentileColumns: ReadonlyArray<Column> = ["p50", "p90", "p95", "p99", "max"].map((title) => ({
  title,
  align: right,
  isOptional: title !== "p50" && title !== "max"
}))

const percentiles = ({ max, p50, p90, p95, p99 }: Analysis.Distribution): ReadonlyArray<string> =>
  [p50, p90, p95, p99, max].map(duration)

const latencies = (report: Analysis.Report, frame: Frame): Lines => {
  const images = worthTelling(report.images).slice(0, 6)
  const rows = images.flatMap((image) => {
    const measured: ReadonlyArray<readonly [string, Analysis.Distribution | undefined]> = [
      ["wait for a sandbox", image.acquires.wait],
      ["wait in vain", image.acquires.failedWait],
      ["session set-up", image.sessions.setUp],
      ["session", image.sessions.lifetime],
      ["session teardown", image.sessions.teardown],
      ["sandbox start", image.sandboxes.start]
    ]
    return measured.flatMap(([what, one]) =>
      one === undefined
        ? []
        : [[what, ...(images.length > 1 ? [nameOf(image, frame)] : []), count(one.count), ...percentiles(one)]]
    )
  })
  const isExact = images.every(
    ({ acquires, sessions }) => (acquires.wait?.isExact ?? true) && (sessions.lifetime?.isExact ?? true)
  )
  return titled(
    `Times${isExact ? "" : frame.paint("dim", " (percentiles within 0.5 %)")}`,
    [
      { title: "what" },
      ...(images.length > 1 ? [{ title: "image", min: 10 }] : []),
      { title: "count", align: right },
      ...percentileColumns
    ],
    rows,
    { ...frame, rows: Number.POSITIVE_INFINITY }
  )
}

// ---------------------------------------------------------------------------------------------------------------------
// What went wrong, and what was slow
// ---------------------------------------------------------------------------------------------------------------------

const failures = (report: Analysis.Report, frame: Frame): Lines =>
  titled(
    "Failures",
    [
      { title: "count", align: right },
      { title: "error", min: 14 },
      { title: "in", min: 14 },
      { title: "last", isOptional: true },
      { title: "such as", min: 16 }
    ],
    report.failures.map((row) => [
      count(row.count),
      { text: row.tag, style: row.isStateError ? "red" : "yellow" },
      [
        row.activity ?? spaced(row.event),
        ...(row.featureId === undefined ? [] : [row.featureId]),
        ...(row.image === undefined ? [] : [nameOf({ ...row, image: row.image }, frame)])
      ].join(" · "),
      frame.clock(row.lastAt),
      row.message
    ]),
    frame
  )

/** `SandboxShutDown` becomes `sandbox shut down`. */
const spaced = (tag: string): string => tag.replaceAll(/(?<=[a-z])(?=[A-Z])/g, " ").toLowerCase()

const slowest = (report: Analysis.Report, frame: Frame): Lines =>
  titled(
    "Slowest activities",
    [
      { title: "took", align: right },
      { title: "activity", min: 12 },
      { title: "began" },
      { title: "sandbox", min: 14 },
      { title: "session", min: 10, isOptional: true }
    ],
    report.slowest.map((one) => [
      duration(one.durationMillis),
      one.error === undefined ? one.name : { text: `${one.name} ${one.error}`, style: "red" },
      frame.clock(one.at),
      one.sandboxId ?? one.environmentId,
      one.sessionId ?? ""
    ]),
    { ...frame, rows: Math.min(frame.rows, report.slowest.length) },
    0
  )

const activities = (report: Analysis.Report, frame: Frame): Lines =>
  titled(
    "Activities, by the time they took together",
    [
      { title: "activity", min: 12 },
      { title: "image", min: 8 },
      { title: "count", align: right, isOptional: true },
      { title: "failed", align: right, isOptional: true },
      ...percentileColumns
    ],
    report.activities.map(({ duration: durations, featureId, image, name, outcomes, ...row }) => {
      const failed = outcomes.state_error + outcomes.user_error
      return [
        featureId === undefined ? name : `${name} · ${featureId}`,
        image === undefined ? "" : nameOf({ ...row, image }, frame),
        count(durations.count),
        failed === 0 ? "" : { text: count(failed), style: "red" },
        ...percentiles(durations)
      ]
    }),
    frame
  )

const features = (report: Analysis.Report, frame: Frame): Lines => {
  const rows = report.features.flatMap(({ environmentId, failed, featureId, image, ...phases }) => {
    const measured: ReadonlyArray<readonly [string, Analysis.Distribution | undefined]> = [
      ["set-up", phases.setUp],
      ["session", phases.sessionSetUp],
      ["session end", phases.sessionTeardown],
      ["teardown", phases.teardown]
    ]
    const where = image === undefined ? "host" : nameOf({ environmentId, image }, frame)
    return measured
      .flatMap(([phase, one]) => (one === undefined ? [] : [{ phase, one }]))
      .map(({ one, phase }, index): ReadonlyArray<Cell> => [
        featureId,
        where,
        phase,
        count(one.count),
        // Of all phases together.
        index > 0 || failed === 0 ? "" : { text: count(failed), style: "red" },
        ...percentiles(one)
      ])
  })
  return titled(
    "Features",
    [
      { title: "feature", min: 12 },
      { title: "image", min: 8 },
      { title: "of" },
      { title: "count", align: right, isOptional: true },
      { title: "failed", align: right, isOptional: true },
      ...percentileColumns
    ],
    rows,
    frame
  )
}

const outages = (report: Analysis.Report, frame: Frame): Lines => {
  const until = report.span?.until ?? 0
  return titled(
    "Outages",
    [
      { title: "image", min: 10 },
      { title: "began" },
      { title: "lasted", align: right },
      { title: "end" },
      { title: "attempts", align: right, isOptional: true },
      { title: "because", min: 16, isOptional: true }
    ],
    report.outages.map((one) => [
      nameOf(one, frame),
      frame.clock(one.from),
      duration((one.until ?? until) - one.from),
      one.end === "Lasts" ? { text: "it lasts", style: "red" } : spaced(one.end),
      one.attempts === undefined ? "" : count(one.attempts),
      one.error ?? ""
    ]),
    frame
  )
}

const endings = (report: Analysis.Report, frame: Frame): Lines =>
  titled(
    "Why sandboxes ended",
    [
      { title: "image", min: 10 },
      { title: "count", align: right },
      { title: "reason", min: 16 },
      { title: "such as", min: 10, isOptional: true }
    ],
    worthTelling(report.images).flatMap((image) =>
      image.sandboxes.reasons.map(({ count: times, example, reason }) => [
        nameOf(image, frame),
        count(times),
        reason,
        example === reason || example.startsWith("Environment ") ? "" : example
      ])
    ),
    frame
  )

const leaks = (
  { contradictions, leaks: { abandoned, leaked, list, notTakenDown } }: Analysis.Report,
  frame: Frame
): Lines => [
  ...titled(
    "Left behind",
    [{ title: "since" }, { title: "what", min: 20 }],
    list.map(({ at, description }) => [frame.clock(at), description]),
    frame,
    leaked + abandoned + notTakenDown
  ),
  ...titled(
    "Contradictions",
    [{ title: "at" }, { title: "who", min: 12 }, { title: "what", min: 20 }],
    contradictions.list.map(({ at, description, subject }) => [frame.clock(at), subject, description]),
    frame,
    contradictions.total
  )
]
