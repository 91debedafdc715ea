/** Figures as people read them. */

/** With about three digits: `850 µs`, `120 ms`, `1.25 s`, `2 min 5 s`, `3 h 12 min`, `2 d 4 h`. */
export const duration = (millis: number): string => {
  if (millis < 0) return `-${duration(-millis)}`
  if (millis === 0) return "0 ms"
  if (millis < 0.9995) return `${digits(millis * 1000)} µs`
  if (millis < 999.5) return `${digits(millis)} ms`
  if (millis < 99_950) return `${digits(millis / 1000)} s`
  const seconds = Math.round(millis / 1000)
  if (seconds < 3600) return two(seconds, 60, "min", "s")
  const minutes = Math.round(seconds / 60)
  if (minutes < 1440) return two(minutes, 60, "h", "min")
  return two(Math.round(minutes / 60), 24, "d", "h")
}

const two = (count: number, size: number, large: string, small: string): string => {
  const rest = count % size
  return `${Math.floor(count / size)} ${large}${rest === 0 ? "" : ` ${rest} ${small}`}`
}

/** Three digits, without zeros at the end. */
const digits = (value: number): string => String(Number(value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0)))

/** `0 %`, `<1 %`, `4.2 %`, `37 %`, `>99 %`: what is not nothing or all does not look like it. */
export const percent = (share: number): string => {
  if (share <= 0) return "0 %"
  if (share >= 1) return "100 %"
  if (share < 0.0005) return "<0.1 %"
  if (share < 0.0995) return `${Number((share * 100).toFixed(1))} %`
  return share >= 0.995 ? ">99 %" : `${Math.round(share * 100)} %`
}

/** `1 234 567`. */
export const count = (value: number): string => String(Math.round(value)).replaceAll(/\B(?=(\d{3})+$)/g, " ")

/** `1 session`, `2 sessions`. */
export const counted = (value: number, noun: string): string => `${count(value)} ${noun}${value === 1 ? "" : "s"}`

/** A moment in UTC: `2026-11-26 12:34:56`. */
export const moment = (at: number): string => new Date(at).toISOString().slice(0, 19).replace("T", " ")
