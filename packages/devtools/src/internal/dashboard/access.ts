/**
 * Who may use the dashboard.
 *
 * - The `Host` of a request must be a name of ours, so that no foreign name that resolves to this machine opens it (DNS
 *   rebinding).
 * - What a page of another origin asks for is refused.
 * - With a token, every request must bring it: as a bearer, or as the cookie that the login gives.
 */
import * as Redacted from "effect/Redacted"
import { createHash, createHmac, timingSafeEqual } from "node:crypto"
import { isIP } from "node:net"

export interface Access {
  readonly isLoopback: boolean
  /** Names under which it may be asked for, besides those of this machine. */
  readonly hosts: ReadonlyArray<string>
  readonly token: Redacted.Redacted | undefined
  readonly cookieName: string
}

/** What decides, of a request. */
export interface Headers {
  readonly [name: string]: string | undefined
}

export const isLoopback = (host: string): boolean =>
  host === "localhost" || host === "::1" || host === "[::1]" || /^127(\.\d{1,3}){3}$/.test(host)

/** The name in a `Host` header, without its port. */
const nameOf = (host: string): string =>
  (host.startsWith("[") ? host.slice(0, host.indexOf("]") + 1) : host.replace(/:\d*$/, "")).toLowerCase()

/** Addresses cannot be rebound; a name must be known. */
export const isKnownHost = (access: Access, header: string | undefined): boolean => {
  if (header === undefined) return false
  const name = nameOf(header)
  if (isLoopback(name) || name.endsWith(".localhost")) return true
  if (access.hosts.includes(name)) return true
  return !access.isLoopback && isIP(name.replaceAll(/^\[|\]$/g, "")) !== 0
}

/** Whether a request comes from a page of ours, or from no page at all. */
export const isSameOrigin = (headers: Headers): boolean => {
  const { host, origin } = headers
  const site = headers["sec-fetch-site"]
  if (site !== undefined && site !== "same-origin" && site !== "none") return false
  return origin === undefined || origin === `http://${host}` || origin === `https://${host}`
}

export const isAuthorized = (access: Access, headers: Headers, cookies: Headers): boolean => {
  const { cookieName, token } = access
  if (token === undefined) return true
  const { authorization } = headers
  if (authorization !== undefined) {
    return /^bearer /i.test(authorization) && isToken(access, authorization.slice(7).trim())
  }
  const cookie = cookies[cookieName]
  return cookie !== undefined && isEqual(cookie, cookieValue(token))
}

export const isToken = ({ token }: Access, given: string): boolean =>
  token !== undefined && isEqual(given, Redacted.value(token))

/**
 * What the cookie holds: not the token itself, and the same after a restart with the same token, so that nobody has to
 * log in again.
 */
export const cookieValue = (token: Redacted.Redacted): string =>
  createHmac("sha256", Redacted.value(token)).update("effect-sandbox dashboard").digest("base64url")

/** In a time that does not depend on where they differ, or on how long they are. */
const isEqual = (a: string, b: string): boolean => timingSafeEqual(digest(a), digest(b))

const digest = (text: string) => createHash("sha256").update(text).digest()
