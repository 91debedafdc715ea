/** Questions to the server. What fails is told as a text for people. */
import type {
  ActionName,
  ActionRequest,
  History,
  Problem,
  SandboxHistory
} from "../../src/internal/dashboard/protocol.ts"

export type Answer<A> = { readonly value: A } | { readonly problem: string }

const ask = async <A>(path: string, init?: RequestInit): Promise<Answer<A>> => {
  try {
    const response = await fetch(path, init)
    const body: unknown = await response.json()
    // What the server sends has been checked against the schemas in its tests.
    return response.ok ? { value: body as A } : { problem: (body as Problem).message }
  } catch {
    return { problem: "The server does not answer." }
  }
}

/** A parameter with several values is sent several times; one without any is not. */
export const history = (query: {
  readonly [name: string]: string | ReadonlyArray<string> | undefined
}): Promise<Answer<History>> => {
  const pairs = Object.entries(query).flatMap(([name, value = []]) =>
    (typeof value === "string" ? [value] : value).filter((one) => one !== "").map((one) => [name, one])
  )
  return ask(`api/history?${new URLSearchParams(pairs)}`)
}

export const sandbox = (id: string): Promise<Answer<SandboxHistory>> => ask(`api/sandbox?id=${encodeURIComponent(id)}`)

export const act = (action: ActionName, request: ActionRequest): Promise<Answer<unknown>> =>
  ask(`api/actions/${action}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(request)
  })
