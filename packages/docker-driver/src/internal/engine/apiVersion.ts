/** Versions of the engine's API. */

/** Docker 19.03. */
export const oldest = "1.40"
/** Docker 28.3. Newer engines speak it as well. */
export const newest = "1.51"

const parse = (version: string): readonly [number, number] | undefined => {
  const found = /^(\d{1,4})\.(\d{1,4})(?:\.\d+)?$/.exec(version)
  return found === null ? undefined : [Number(found[1]), Number(found[2])]
}

const isOlder = ([major, minor]: readonly [number, number], than: readonly [number, number]): boolean =>
  major === than[0] ? minor < than[1] : major < than[0]

/** The version to speak with an engine that speaks `engine` at most; undefined when there is none. */
export const choose = (engine: string): string | undefined => {
  const [theirs, ours, first] = [parse(engine), parse(newest), parse(oldest)]
  if (theirs === undefined || ours === undefined || first === undefined || isOlder(theirs, first)) return undefined
  return isOlder(theirs, ours) ? `${theirs[0]}.${theirs[1]}` : newest
}
