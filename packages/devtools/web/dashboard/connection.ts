/**
 * The stream of events from the server. It comes back by itself: after a lost connection, a connection that fell silent,
 * and a restart of the program.
 */
import { connection, onLog, onSnapshot, onTick } from "./state.ts"

/** The server says something every second. */
const silenceMillis = 6000
const longestWaitMillis = 5000

let source: EventSource | undefined
let lastId = ""
let attempts = 0
let timer = 0

const heard = (event: Event): unknown => {
  const message = event as MessageEvent<string>
  if (message.lastEventId !== "") lastId = message.lastEventId
  attempts = 0
  if (connection.value !== "live") connection.value = "live"
  expect()
  return JSON.parse(message.data)
}

/** Without another message in time the connection counts as lost. */
const expect = (): void => {
  clearTimeout(timer)
  timer = setTimeout(lost, silenceMillis)
}

export const connect = (): void => {
  source?.close()
  source = new EventSource(`api/events?last=${encodeURIComponent(lastId)}`)
  // What the server sends has been checked against the schemas in its tests.
  source.addEventListener("snapshot", (event) => onSnapshot(heard(event) as Parameters<typeof onSnapshot>[0]))
  source.addEventListener("tick", (event) => onTick(heard(event) as Parameters<typeof onTick>[0]))
  source.addEventListener("log", (event) => onLog(heard(event) as Parameters<typeof onLog>[0]))
  source.addEventListener("stopped", () => {
    connection.value = "stopped"
    lost()
  })
  source.addEventListener("error", lost)
  expect()
}

const lost = (): void => {
  source?.close()
  clearTimeout(timer)
  if (connection.value !== "stopped") connection.value = "reconnecting"
  attempts++
  const wait = Math.min(longestWaitMillis, 500 * 2 ** (attempts - 1))
  timer = setTimeout(() => void again(), wait)
}

/**
 * A tab that nobody looks at gives its connection back: browsers allow six to a server, for all tabs together. It is
 * resumed when somebody looks.
 */
const restMillis = 10_000
let rest = 0

document.addEventListener("visibilitychange", () => {
  clearTimeout(rest)
  if (document.hidden) {
    rest = setTimeout(() => {
      clearTimeout(timer)
      source?.close()
    }, restMillis)
  } else if (source?.readyState === EventSource.CLOSED && connection.value !== "refused") {
    connect()
  }
})

/** An event source does not tell why it was refused. */
const again = async (): Promise<void> => {
  const status = await fetch("api/history?limit=1").then(
    (response) => response.status,
    () => 0
  )
  if (status === 401) connection.value = "refused"
  else if (status === 200) connect()
  else lost()
}
