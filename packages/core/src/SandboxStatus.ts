/**
 * The life of a sandbox as a pure table: which statuses there are and which moves are legal. One place writes a
 * sandbox's status (`internal/sandboxRuntime.ts`), and an illegal move is a defect (I5).
 *
 * ```text
 *            start                    set up                    acquire
 *  Created ─────────▶ SettingUp ────────────────▶ Ready ────────────────▶ Acquired
 *                     │  ▲   │ ▲                  │ ▲ ▲                    │  │
 *          failed or  │  │   │ └──────────────────┼─┼─┼── session starts ──┘  │ untouched
 *          closed     │  │   │ session set up     │ │ └──────────────────────-┘
 *                     │  │   ▼                    │ │ reusable
 *                     │  │ InSession ──▶ ExitingSession ──┐
 *                     │  └───────────────────┘    │       │ state error, failed teardown,
 *                     │      proactive            │       │ not reusable
 *                     ▼                           ▼       ▼
 *                     └─────────────▶ ShuttingDown ──────▶ Offline
 * ```
 */
import * as Schema from "effect/Schema"

/** Every status of a sandbox, in the order of its life. */
export const all = [
  "Created",
  "SettingUp",
  "Ready",
  "Acquired",
  "InSession",
  "ExitingSession",
  "ShuttingDown",
  "Offline"
] as const

export const SandboxStatus = Schema.Literals(all)
export type SandboxStatus = typeof SandboxStatus.Type

/** A count of nothing for each status, to count on. */
export const noCounts = (): Record<SandboxStatus, number> => ({
  Created: 0,
  SettingUp: 0,
  Ready: 0,
  Acquired: 0,
  InSession: 0,
  ExitingSession: 0,
  ShuttingDown: 0,
  Offline: 0
})

const moves: { readonly [from in SandboxStatus]: ReadonlyArray<SandboxStatus> } = {
  Created: ["SettingUp"],
  SettingUp: ["Ready", "InSession", "ShuttingDown"],
  Ready: ["Acquired", "ShuttingDown"],
  Acquired: ["SettingUp", "Ready", "ShuttingDown"],
  InSession: ["ExitingSession"],
  ExitingSession: ["Ready", "SettingUp", "ShuttingDown"],
  ShuttingDown: ["Offline"],
  Offline: []
}

/** Whether a sandbox may go from one status to another. */
export const isLegal = (from: SandboxStatus, to: SandboxStatus): boolean => moves[from].includes(to)

/** Whether a sandbox of that status is usable or about to be. */
export const isOnline = (status: SandboxStatus): boolean =>
  status === "SettingUp" || status === "Ready" || status === "Acquired" || status === "InSession"

/** The life of an environment. While it is drained it hands out no sessions, and those that run go on to their end. */
export const EnvironmentStatus = Schema.Literals(["Created", "Online", "Draining", "ShuttingDown", "Offline"])
export type EnvironmentStatus = typeof EnvironmentStatus.Type
