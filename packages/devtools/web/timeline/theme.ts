/** Colours of the canvas; those of the rest are in `style.css`. Text on every bar has a contrast of at least 4.5. */

export interface Paint {
  readonly fill: string
  readonly text: string
}

export interface Theme {
  readonly background: string
  readonly lane: string
  readonly band: string
  readonly line: string
  readonly strong: string
  readonly text: string
  readonly faint: string
  readonly accent: string
  readonly outage: string
  readonly waiting: string
  readonly stateError: string
  readonly userError: string
  readonly selected: string
  /** By status, in the order of `statuses`. */
  readonly statuses: ReadonlyArray<string>
  /** By class, see `classes`. */
  readonly bars: ReadonlyArray<Paint>
}

/** What a bar looks like. */
export const classes = [
  "session",
  "start",
  "shutdown",
  "environment",
  "activity",
  "featureActivity",
  "setUp",
  "tearDown",
  "housekeeping",
  "userError",
  "stateError",
  "interrupted",
  "unknown"
] as const
export type Class = (typeof classes)[number]
export const classIndex = (name: Class): number => classes.indexOf(name)

const paint = (fill: string, text: string): Paint => ({ fill, text })

const light: Theme = {
  background: "#ffffff",
  lane: "#f6f8fa",
  band: "#eef1f5",
  line: "#dfe4ea",
  strong: "#8b95a3",
  text: "#1d232b",
  faint: "#5a6573",
  accent: "#2563c9",
  outage: "#f6dde6",
  waiting: "#d98a00",
  stateError: "#c4122f",
  userError: "#b35300",
  selected: "#0b1320",
  statuses: ["#f0d58c", "#e9b949", "#c6d0dc", "#8fb5f2", "#3f7de0", "#a08be6", "#7c8694", "#ffffff"],
  bars: [
    paint("#b9d2fb", "#0b2a5c"),
    paint("#f3d88f", "#4a3500"),
    paint("#ccd2da", "#262d36"),
    paint("#d5dbe3", "#262d36"),
    paint("#b5e3d6", "#063c30"),
    paint("#c3e6ef", "#073d4b"),
    paint("#f8e7b8", "#4a3500"),
    paint("#dcd3f7", "#2d1c66"),
    paint("#e2e6eb", "#333b45"),
    paint("#fbcb97", "#522700"),
    paint("#f4a3ad", "#54000f"),
    paint("#d2d6dc", "#333b45"),
    paint("#e6e0ee", "#3a3145")
  ]
}

const dark: Theme = {
  background: "#12161c",
  lane: "#171c23",
  band: "#1d232c",
  line: "#2a323d",
  strong: "#6f7b8b",
  text: "#e7ebf0",
  faint: "#a3adba",
  accent: "#7fb0ff",
  outage: "#3c1e2b",
  waiting: "#e8a92f",
  stateError: "#ff6b7d",
  userError: "#f6a04d",
  selected: "#ffffff",
  statuses: ["#7a6223", "#b88a1e", "#3d4856", "#4a73b4", "#3f7de0", "#7a64c4", "#646e7c", "#12161c"],
  bars: [
    paint("#27498a", "#e2ecff"),
    paint("#6b5212", "#ffefc7"),
    paint("#454e5a", "#eef1f4"),
    paint("#3a424d", "#eef1f4"),
    paint("#1c5a4a", "#d9f7ee"),
    paint("#1f5666", "#d8f3fb"),
    paint("#594714", "#fff0cc"),
    paint("#483a80", "#ece6ff"),
    paint("#353d48", "#dfe4ea"),
    paint("#8a4a12", "#ffe9d2"),
    paint("#9c2335", "#ffe6e9"),
    paint("#454c56", "#e6e9ed"),
    paint("#453c50", "#efe8f7")
  ]
}

export const themeOf = (isDark: boolean): Theme => (isDark ? dark : light)

/** A colour as a pixel in memory. */
export const pixelOf = (hex: string): number => {
  const value = Number.parseInt(hex.slice(1), 16)
  return (0xff000000 | ((value & 0xff) << 16) | (value & 0xff00) | (value >> 16)) >>> 0
}

/** So much of the second over the first. */
export const blend = (under: number, over: number, share: number): number => {
  const part = Math.round(Math.min(1, Math.max(0, share)) * 256)
  const rest = 256 - part
  const red = ((under & 0xff) * rest + (over & 0xff) * part) >> 8
  const green = (((under >> 8) & 0xff) * rest + ((over >> 8) & 0xff) * part) >> 8
  const blue = (((under >> 16) & 0xff) * rest + ((over >> 16) & 0xff) * part) >> 8
  return (0xff000000 | (blue << 16) | (green << 8) | red) >>> 0
}
