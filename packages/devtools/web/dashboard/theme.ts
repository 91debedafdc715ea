/** Light, dark, or as the system is. */
import { signal } from "@preact/signals"

export type Theme = "system" | "light" | "dark"

const themes: ReadonlyArray<Theme> = ["system", "light", "dark"]
const key = "effect-sandbox-theme"

const stored = localStorage.getItem(key)

export const theme = signal<Theme>(themes.find((one) => one === stored) ?? "system")
/** Changes when colours did, for what is drawn on a canvas. */
export const colours = signal(0)

const apply = (): void => {
  if (theme.value === "system") delete document.documentElement.dataset["theme"]
  else document.documentElement.dataset["theme"] = theme.value
  colours.value++
}

export const nextTheme = (): void => {
  theme.value = themes[(themes.indexOf(theme.value) + 1) % themes.length] ?? "system"
  localStorage.setItem(key, theme.value)
  apply()
}

apply()
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", apply)

/** The value of a CSS variable. */
export const colour = (name: string): string =>
  getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()
