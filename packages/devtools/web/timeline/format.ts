/** Times and numbers as people read them. */

const number = (value: number, digits: number): string =>
  value.toLocaleString("en", { maximumFractionDigits: digits, useGrouping: false })

/** A length of time, with two or three significant digits. */
export const duration = (millis: number): string => {
  const size = Math.abs(millis)
  if (size === 0) return "0 s"
  if (size < 1) return `${number(millis * 1000, 0)} µs`
  if (size < 1000) return `${number(millis, size < 10 ? 1 : 0)} ms`
  if (size < 60_000) return `${number(millis / 1000, size < 10_000 ? 2 : 1)} s`
  const seconds = Math.round(size / 1000)
  const [days, hours, minutes] = [
    Math.floor(seconds / 86_400),
    Math.floor(seconds / 3600) % 24,
    Math.floor(seconds / 60) % 60
  ]
  const sign = millis < 0 ? "-" : ""
  if (days > 0) return `${sign}${days} d ${hours} h`
  if (hours > 0) return `${sign}${hours} h ${minutes} min`
  return `${sign}${minutes} min ${seconds % 60} s`
}

/** A moment as a distance from the beginning, as exact as neighbouring marks need it. */
export const tick = (millis: number, step: number): string => {
  const sign = millis < 0 ? "-" : ""
  const size = Math.abs(millis)
  if (step < 1) return `${number(millis * 1000, 0)} µs`
  if (step < 1000 && size < 1000) return `${number(millis, 0)} ms`
  const digits = step >= 1000 ? 0 : step >= 100 ? 1 : step >= 10 ? 2 : 3
  if (size < 60_000) return `${sign}${(size / 1000).toFixed(digits)} s`
  const seconds = size / 1000
  const minutes = Math.floor(seconds / 60)
  const rest = (seconds % 60).toFixed(digits).padStart(digits === 0 ? 2 : digits + 3, "0")
  if (minutes < 60) return `${sign}${minutes}:${rest}`
  return `${sign}${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`
}

/** A moment as date and time of the reader. */
export const moment = (epochMillis: number): string => {
  const date = new Date(epochMillis)
  if (Number.isNaN(date.getTime())) return "?"
  const two = (value: number, width = 2) => String(value).padStart(width, "0")
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${two(date.getMilliseconds(), 3)}`
}

export const count = (value: number): string => value.toLocaleString("en")

export const plural = (value: number, one: string, many = `${one}s`): string =>
  `${count(value)} ${value === 1 ? one : many}`

export const percent = (share: number): string => (share > 0 && share < 0.01 ? "<1 %" : `${Math.round(share * 100)} %`)

/** Words of a name that is written together: `FeatureSessionSetUp`, `user_error`. */
export const words = (name: string): string =>
  name
    .replaceAll("_", " ")
    .replace(/(?!^)[A-Z]/g, (letter) => ` ${letter}`)
    .toLowerCase()
