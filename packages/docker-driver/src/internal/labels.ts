/** The labels of everything that we make on an engine, by which it can be found again and told from strangers' (F10, F11). */
import type { SandboxSpec } from "@effect-sandbox/core/SandboxDriver"

const prefix = "effect-sandbox"

/** On everything; its value names what the thing is for. */
export const kind = `${prefix}.kind`
/** Whose it is: `owner.ts` says what the value holds. */
export const owner = `${prefix}.owner`
/** On images of snapshots: the writable places whose content they hold, as JSON. */
export const snapshot = `${prefix}.snapshot`

export const kinds = { sandbox: "sandbox", agent: "agent", helper: "helper", snapshot: "snapshot" } as const

export const ofSandbox = (spec: SandboxSpec, owned: string): { readonly [label: string]: string } => ({
  [kind]: kinds.sandbox,
  [owner]: owned,
  [`${prefix}.environment`]: spec.environmentId,
  [`${prefix}.sandbox`]: spec.sandboxId,
  [`${prefix}.image`]: spec.image
})

/** Of a container that is never started: it lives for a moment, to get files into volumes and images. */
export const ofHelper = (owned: string): { readonly [label: string]: string } => ({
  [kind]: kinds.helper,
  [owner]: owned
})
