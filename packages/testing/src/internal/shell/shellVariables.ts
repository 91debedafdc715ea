/** The variables of a shell. */

interface Variable {
  readonly value: string | undefined
  readonly isExported: boolean
  readonly isReadonly: boolean
}

const unset: Variable = { value: undefined, isExported: false, isReadonly: false }

export class Variables {
  readonly #variables: Map<string, Variable>

  constructor(variables: Iterable<readonly [string, Variable]> = []) {
    this.#variables = new Map(variables)
  }

  static fromEnvironment(environment: { readonly [name: string]: string }): Variables {
    return new Variables(
      Object.entries(environment).map(([name, value]) => [name, { value, isExported: true, isReadonly: false }])
    )
  }

  copy(): Variables {
    return new Variables(this.#variables)
  }

  get(name: string): string | undefined {
    return this.#variables.get(name)?.value
  }

  isReadonly(name: string): boolean {
    return this.#variables.get(name)?.isReadonly === true
  }

  /** Sets a variable that is not read-only. */
  set(name: string, value: string): void {
    this.#change(name, { value })
  }

  setExported(name: string): void {
    this.#change(name, { isExported: true })
  }

  setReadonly(name: string): void {
    this.#change(name, { isReadonly: true })
  }

  delete(name: string): void {
    this.#variables.delete(name)
  }

  /** Everything about a variable, to be put back later. */
  snapshot(name: string): () => void {
    const before = this.#variables.get(name)
    return () => {
      if (before === undefined) this.#variables.delete(name)
      else this.#variables.set(name, before)
    }
  }

  /** What children get. */
  get environment(): { readonly [name: string]: string } {
    const result: { [name: string]: string } = {}
    for (const [name, { isExported, value }] of this.#variables) {
      if (isExported && value !== undefined) result[name] = value
    }
    return result
  }

  /** Sorted by name. */
  list(which: "all" | "exported" | "readonly"): ReadonlyArray<readonly [name: string, value: string | undefined]> {
    return [...this.#variables]
      .filter(([, variable]) => {
        if (which === "exported") return variable.isExported
        return which === "readonly" ? variable.isReadonly : variable.value !== undefined
      })
      .map(([name, { value }]) => [name, value] as const)
      .sort(([left], [right]) => (left < right ? -1 : 1))
  }

  #change(name: string, change: Partial<Variable>): void {
    this.#variables.set(name, { ...(this.#variables.get(name) ?? unset), ...change })
  }
}

/** A value as the shell prints it to be read again. */
export const quoted = (value: string): string => `'${value.replaceAll("'", `'"'"'`)}'`
