/** Finds things by their ids, names, error tags and messages. */
import { firstNested } from "../../src/internal/timelineData.ts"
import { type Model, session } from "./model.ts"
import type { Scene } from "./scene.ts"
import type { Selection } from "./state.ts"

export interface Found {
  /** By time. */
  readonly matches: ReadonlyArray<Selection>
  readonly times: ReadonlyArray<number>
  readonly spans: ReadonlySet<number>
}

export const nothing: Found = { matches: [], times: [], spans: new Set() }

const lowered = new WeakMap<Model, Array<string>>()

/** Which texts hold the words. */
const matching = (model: Model, text: string): Uint8Array => {
  const { strings } = model.data
  let known = lowered.get(model)
  if (known === undefined) {
    known = Array.from({ length: strings.length }, (_, index) => strings.at(index).toLowerCase())
    lowered.set(model, known)
  }
  const words = text.toLowerCase().split(/\s+/).filter(Boolean)
  return Uint8Array.from(known, (one) => (words.every((word) => one.includes(word)) ? 1 : 0))
}

export const search = (scene: Scene, query: string): Found => {
  if (query.trim() === "") return nothing
  const { model } = scene
  const { errors, failures, outages, sandboxes, spans } = model.data
  const hits = matching(model, query)
  const errorHits = Uint8Array.from(errors.tag, (tag, index) => (hits[tag] || hits[errors.message[index]!] ? 1 : 0))
  const error = (index: number) => index >= 0 && errorHits[index] === 1
  const found: Array<{ readonly selection: Selection; readonly time: number }> = []
  const inSpans = new Set<number>()
  for (const span of scene.spans.ids) {
    const isNamed = hits[spans.name[span]!] === 1 || (spans.feature[span]! >= 0 && hits[spans.feature[span]!] === 1)
    // Starts and ends are called alike everywhere.
    const isHit =
      (isNamed && (spans.kind[span] === session || spans.kind[span]! >= firstNested)) || error(spans.error[span]!)
    if (!isHit) continue
    inSpans.add(span)
    found.push({ selection: { kind: "span", index: span }, time: spans.start[span]! })
  }
  const lanes = new Set(scene.lanes.map(({ lane }) => lane.index))
  for (let i = 0; i < sandboxes.length; i++) {
    if (!lanes.has(sandboxes.lane[i]!)) continue
    if (hits[sandboxes.name[i]!] === 1 || (sandboxes.reason[i]! >= 0 && hits[sandboxes.reason[i]!] === 1)) {
      found.push({ selection: { kind: "sandbox", index: i }, time: sandboxes.start[i]! })
    }
  }
  const pools = new Set(scene.groups.map(({ group }) => group.pool))
  for (let i = 0; i < outages.length; i++) {
    if (pools.has(outages.pool[i]!) && error(outages.error[i]!)) {
      found.push({ selection: { kind: "outage", index: i }, time: outages.start[i]! })
    }
  }
  for (let i = 0; i < failures.length; i++) {
    if (pools.has(failures.pool[i]!) && error(failures.error[i]!)) {
      found.push({ selection: { kind: "failure", index: i }, time: failures.start[i]! })
    }
  }
  found.sort((a, b) => a.time - b.time)
  return { matches: found.map(({ selection }) => selection), times: found.map(({ time }) => time), spans: inSpans }
}
