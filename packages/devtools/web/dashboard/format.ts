/** Figures as people read them. */

export const count = (n: number): string => n.toLocaleString("en")

export const plural = (n: number, one: string, many = `${one}s`): string => `${count(n)} ${n === 1 ? one : many}`

/** Per second, with as many digits as say something. */
export const rate = (n: number): string => (n === 0 ? "0" : n < 10 ? n.toFixed(1) : count(Math.round(n)))

export const span = (millis: number): string => {
  if (millis < 10) return `${Number(millis.toPrecision(2))} ms`
  if (millis < 1000) return `${Math.round(millis)} ms`
  const seconds = millis / 1000
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes} min ${Math.round(seconds % 60)} s`
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

const two = (n: number): string => String(n).padStart(2, "0")

/** The time of day, with milliseconds. */
export const clock = (time: number): string => {
  const date = new Date(time)
  const millis = String(date.getMilliseconds()).padStart(3, "0")
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${millis}`
}

/** `ExitingSession` as `exiting session`. */
export const words = (name: string): string => name.replaceAll(/(?!^)[A-Z]/g, " $&").toLowerCase()
