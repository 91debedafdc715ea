/** Labels, by which we tell what is ours. */

export interface Labels {
  readonly [name: string]: string
}

/** The engine's filter for things that have all these labels, each `name` or `name=value`. */
export const labelFilter = (labels: ReadonlyArray<string>): { readonly label?: ReadonlyArray<string> } =>
  labels.length === 0 ? {} : { label: labels }
