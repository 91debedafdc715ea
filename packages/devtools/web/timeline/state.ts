/** What the reader has chosen: the part of time, the filters, the selection. Kept in the address of the page. */
import { computed, effect, signal } from "@preact/signals"
import { outcomes, spanKinds } from "../../src/internal/timelineData.ts"
import type { Model } from "./model.ts"

export const selectionKinds = ["span", "segment", "sandbox", "outage", "failure", "mark", "lane"] as const

/** A thing that is looked at: a row of a table. */
export interface Selection {
  readonly kind: (typeof selectionKinds)[number]
  readonly index: number
}

export interface Filters {
  readonly environment: string
  readonly image: string
  /** Names that are left out. */
  readonly hiddenOutcomes: ReadonlyArray<string>
  readonly hiddenKinds: ReadonlyArray<string>
  readonly onlyErrors: boolean
}

/** Kinds of bars as they are filtered. */
export const kindGroups = [
  { name: "sessions", label: "Sessions", kinds: ["Session"] },
  {
    name: "lifecycle",
    label: "Starts and shutdowns",
    kinds: ["SandboxStart", "SandboxShutDown", "EnvironmentStart", "EnvironmentShutDown"]
  },
  { name: "activities", label: "Activities", kinds: ["SandboxActivity", "FeatureActivity"] },
  {
    name: "features",
    label: "Features’ set-up and teardown",
    kinds: ["FeatureSetUp", "FeatureTornDown", "FeatureSessionSetUp", "FeatureSessionTornDown"]
  },
  {
    name: "housekeeping",
    label: "Housekeeping",
    kinds: ["SandboxHousekeeping", "FeatureHousekeeping", "EnvironmentHousekeeping"]
  }
] as const

export const kindGroupOf: ReadonlyArray<string> = spanKinds.map(
  (kind) => kindGroups.find((group) => (group.kinds as ReadonlyArray<string>).includes(kind))!.name
)

export const noFilters: Filters = {
  environment: "",
  image: "",
  hiddenOutcomes: [],
  hiddenKinds: [],
  onlyErrors: false
}

export type Density = "auto" | "full" | "compact"
export type ThemeChoice = "auto" | "light" | "dark"
export type Tab = "summary" | "details" | "lane"

export const filters = signal<Filters>(noFilters)
export const selection = signal<Selection | undefined>(undefined)
/** The lane that the keyboard is on. */
export const lane = signal<number | undefined>(undefined)
export const query = signal("")
export const density = signal<Density>("auto")
export const themeChoice = signal<ThemeChoice>("auto")
export const tab = signal<Tab>("summary")
/** Where there is little room, lanes come first. */
export const panelOpen = signal(innerWidth > 760)
export const helpOpen = signal(false)
/** The part of time that is seen. */
export const view = signal({ from: 0, until: 1 })

const prefersDark = matchMedia("(prefers-color-scheme: dark)")
const systemIsDark = signal(prefersDark.matches)
prefersDark.addEventListener("change", ({ matches }) => {
  systemIsDark.value = matches
})
export const isDark = computed(() => (themeChoice.value === "auto" ? systemIsDark.value : themeChoice.value === "dark"))

export const isFiltered = computed(() => {
  const { environment, hiddenKinds, hiddenOutcomes, image, onlyErrors } = filters.value
  return environment !== "" || image !== "" || onlyErrors || hiddenKinds.length > 0 || hiddenOutcomes.length > 0
})

export const select = (what: Selection | undefined): void => {
  selection.value = what
  if (what !== undefined) {
    tab.value = "details"
  } else if (tab.value === "details") {
    tab.value = "summary"
  }
}

/** Reads the address, and from then on writes it. */
export const keepInAddress = (model: Model): void => {
  read(model)
  let timer: ReturnType<typeof setTimeout> | undefined
  effect(() => {
    const hash = written(model)
    clearTimeout(timer)
    timer = setTimeout(() => {
      if (hash !== location.hash.slice(1)) history.replaceState(undefined, "", `#${hash}`)
    }, 200)
  })
  addEventListener("hashchange", () => read(model))
}

const list = (text: string | null, known: ReadonlyArray<string>): ReadonlyArray<string> =>
  (text ?? "").split(",").filter((name) => known.includes(name))

const read = (model: Model): void => {
  const given = new URLSearchParams(location.hash.slice(1))
  const time = (name: string, otherwise: number) => {
    const value = given.get(name)
    return value === null || !Number.isFinite(Number(value)) ? otherwise : Number(value)
  }
  const from = time("from", model.start)
  const until = time("until", model.end)
  view.value = until > from ? { from, until } : { from: model.start, until: model.end }
  filters.value = {
    environment: given.get("environment") ?? "",
    image: given.get("image") ?? "",
    hiddenOutcomes: list(given.get("hide-outcomes"), outcomes),
    hiddenKinds: list(
      given.get("hide-kinds"),
      kindGroups.map((group) => group.name)
    ),
    onlyErrors: given.get("errors") === "only"
  }
  query.value = given.get("q") ?? ""
  const chosen = (given.get("theme") ?? "auto") as ThemeChoice
  themeChoice.value = ["light", "dark"].includes(chosen) ? chosen : "auto"
  const rows = (given.get("rows") ?? "auto") as Density
  density.value = ["full", "compact"].includes(rows) ? rows : "auto"
  const [kind, index] = (given.get("sel") ?? "").split(".")
  const known = selectionKinds.find((name) => name === kind)
  if (known !== undefined && isRow(model, known, Number(index))) select({ kind: known, index: Number(index) })
}

const isRow = ({ data, lanes }: Model, kind: Selection["kind"], index: number): boolean => {
  const lengths = {
    span: data.spans.length,
    segment: data.segments.length,
    sandbox: data.sandboxes.length,
    outage: data.outages.length,
    failure: data.failures.length,
    mark: data.marks.length,
    lane: lanes.length
  }
  return Number.isInteger(index) && index >= 0 && index < lengths[kind]
}

const written = (model: Model): string => {
  const hash = new URLSearchParams()
  const { from, until } = view.value
  if (from !== model.start || until !== model.end) {
    hash.set("from", String(Math.round(from * 1000) / 1000))
    hash.set("until", String(Math.round(until * 1000) / 1000))
  }
  const { environment, hiddenKinds, hiddenOutcomes, image, onlyErrors } = filters.value
  if (environment !== "") hash.set("environment", environment)
  if (image !== "") hash.set("image", image)
  if (hiddenOutcomes.length > 0) hash.set("hide-outcomes", hiddenOutcomes.join(","))
  if (hiddenKinds.length > 0) hash.set("hide-kinds", hiddenKinds.join(","))
  if (onlyErrors) hash.set("errors", "only")
  if (query.value !== "") hash.set("q", query.value)
  if (themeChoice.value !== "auto") hash.set("theme", themeChoice.value)
  if (density.value !== "auto") hash.set("rows", density.value)
  if (selection.value !== undefined) hash.set("sel", `${selection.value.kind}.${selection.value.index}`)
  return hash.toString()
}
