/** The parts of `environment/image:slot:generation`. */
export const parseSandboxId = (
  id: string
): { readonly image: string; readonly slot: number; readonly generation: number } | undefined => {
  const last = id.lastIndexOf(":")
  const first = id.lastIndexOf(":", last - 1)
  const slash = id.indexOf("/")
  if (slash === -1 || first <= slash) return undefined
  const slot = Number(id.slice(first + 1, last))
  const generation = Number(id.slice(last + 1))
  return Number.isInteger(slot) && Number.isInteger(generation)
    ? { image: id.slice(slash + 1, first), slot, generation }
    : undefined
}
