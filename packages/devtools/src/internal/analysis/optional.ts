type Present<A> = { readonly [K in keyof A]?: Exclude<A[K], undefined> }

/** The fields that have a value: in reports what is missing is left out. */
export const optional = <A extends { readonly [key: string]: unknown }>(fields: A): Present<A> => {
  const present: { [key: string]: unknown } = {}
  for (const [key, value] of Object.entries(fields)) if (value !== undefined) present[key] = value
  return present as Present<A> // it has the values of `fields`, without those that are undefined
}
