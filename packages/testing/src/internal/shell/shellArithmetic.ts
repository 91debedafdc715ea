/** Arithmetic of the shell: 64-bit integers, and the operators of C that have to do with them. */
import * as Result from "effect/Result"

export interface Variables {
  readonly get: (name: string) => string | undefined
  readonly set: (name: string, value: string) => void
}

/** The value of an expression, or why it has none. */
export const evaluate = (expression: string, variables: Variables): Result.Result<bigint, string> =>
  new Evaluation(expression, variables).result()

const token =
  /\s*(?:(0[xX][0-9a-fA-F]+|\d+)|([A-Za-z_]\w*)|(<<=|>>=|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|[-+*/%<>=!~&|^?:()]))/y

/** From weak to strong. */
const levels: ReadonlyArray<ReadonlyArray<string>> = [
  ["|"],
  ["^"],
  ["&"],
  ["==", "!="],
  ["<", ">", "<=", ">="],
  ["<<", ">>"],
  ["+", "-"],
  ["*", "/", "%"]
]

type Token =
  | { readonly _tag: "Number"; readonly value: bigint }
  | { readonly _tag: "Name"; readonly name: string }
  | { readonly _tag: "Operator"; readonly text: string }

class Evaluation {
  readonly #expression: string
  readonly #variables: Variables
  readonly #tokens: ReadonlyArray<Token>
  #at = 0
  #error: string | undefined
  /** Above zero in what is only read over: the branch not taken. */
  #unused = 0

  constructor(expression: string, variables: Variables) {
    this.#expression = expression
    this.#variables = variables
    this.#tokens = this.#scan()
  }

  result(): Result.Result<bigint, string> {
    const value = this.#tokens.length === 0 ? 0n : this.#assignment()
    if (this.#at < this.#tokens.length) this.#fail("expecting EOF")
    return this.#error === undefined ? Result.succeed(value) : Result.fail(this.#error)
  }

  #scan(): ReadonlyArray<Token> {
    const tokens: Array<Token> = []
    const source = this.#expression
    token.lastIndex = 0
    while (token.lastIndex < source.trimEnd().length) {
      const [, number, name, text] = token.exec(source) ?? []
      if (number !== undefined) tokens.push({ _tag: "Number", value: this.#number(number) })
      else if (name !== undefined) tokens.push({ _tag: "Name", name })
      else if (text !== undefined) tokens.push({ _tag: "Operator", text })
      else {
        // No operator that anything expects.
        tokens.push({ _tag: "Operator", text: source.slice(token.lastIndex) })
        break
      }
    }
    return tokens
  }

  #number(text: string): bigint {
    if (!/^0\d/.test(text)) return BigInt(text)
    if (/^0[0-7]+$/.test(text)) return BigInt(`0o${text.slice(1)}`)
    return this.#fail("expecting EOF")
  }

  #fail(problem: string): bigint {
    this.#error ??= `arithmetic expression: ${problem}: "${this.#expression}"`
    return 0n
  }

  #operator(offset: number = 0): string | undefined {
    const token = this.#tokens[this.#at + offset]
    return token?._tag === "Operator" ? token.text : undefined
  }

  #take(...operators: ReadonlyArray<string>): string | undefined {
    const operator = this.#operator()
    if (operator === undefined || !operators.includes(operator)) return undefined
    this.#at++
    return operator
  }

  #assignment(): bigint {
    const target = this.#tokens[this.#at]
    const operator = this.#operator(1)
    const isAssignment = operator !== undefined && /^(?:<<|>>|[-+*/%&|^])?=$/.test(operator)
    if (target?._tag !== "Name" || !isAssignment) return this.#conditional()
    this.#at += 2
    const given = this.#assignment()
    const value = operator === "=" ? given : this.#apply(operator.slice(0, -1), this.#variable(target.name), given)
    if (this.#unused === 0 && this.#error === undefined) this.#variables.set(target.name, String(value))
    return value
  }

  #conditional(): bigint {
    const condition = this.#or()
    if (this.#take("?") === undefined) return condition
    const whenTrue = this.#when(condition !== 0n, () => this.#assignment())
    if (this.#take(":") === undefined) return this.#fail("expecting ':'")
    const whenFalse = this.#when(condition === 0n, () => this.#conditional())
    return condition === 0n ? whenFalse : whenTrue
  }

  #or(): bigint {
    let value = this.#and()
    while (this.#take("||") !== undefined) {
      const right = this.#when(value === 0n, () => this.#and())
      value = value !== 0n || right !== 0n ? 1n : 0n
    }
    return value
  }

  #and(): bigint {
    let value = this.#binary(0)
    while (this.#take("&&") !== undefined) {
      const right = this.#when(value !== 0n, () => this.#binary(0))
      value = value !== 0n && right !== 0n ? 1n : 0n
    }
    return value
  }

  #binary(level: number): bigint {
    const operators = levels[level]
    if (operators === undefined) return this.#unary()
    let value = this.#binary(level + 1)
    while (true) {
      const operator = this.#take(...operators)
      if (operator === undefined) return value
      value = this.#apply(operator, value, this.#binary(level + 1))
    }
  }

  #unary(): bigint {
    const operator = this.#take("!", "~", "-", "+")
    if (operator === undefined) return this.#primary()
    const value = this.#unary()
    if (operator === "!") return value === 0n ? 1n : 0n
    if (operator === "~") return ~value
    return operator === "-" ? BigInt.asIntN(64, -value) : value
  }

  #primary(): bigint {
    if (this.#take("(") !== undefined) {
      const value = this.#assignment()
      return this.#take(")") === undefined ? this.#fail("expecting ')'") : value
    }
    const token = this.#tokens[this.#at]
    if (token === undefined || token._tag === "Operator") return this.#fail("expecting primary")
    this.#at++
    return token._tag === "Number" ? BigInt.asIntN(64, token.value) : this.#variable(token.name)
  }

  #variable(name: string): bigint {
    const value = this.#variables.get(name)?.trim() ?? ""
    if (value === "") return 0n
    if (/^[-+]?(?:0[xX][0-9a-fA-F]+|\d+)$/.test(value)) {
      const magnitude = this.#number(value.replace(/^[-+]/, ""))
      return value.startsWith("-") ? -magnitude : magnitude
    }
    if (this.#unused === 0) this.#error ??= `Illegal number: ${value}`
    return 0n
  }

  #when(isUsed: boolean, evaluate: () => bigint): bigint {
    if (isUsed) return evaluate()
    this.#unused++
    const value = evaluate()
    this.#unused--
    return value
  }

  #apply(operator: string, left: bigint, right: bigint): bigint {
    const truth = (holds: boolean): bigint => (holds ? 1n : 0n)
    switch (operator) {
      case "+":
        return BigInt.asIntN(64, left + right)
      case "-":
        return BigInt.asIntN(64, left - right)
      case "*":
        return BigInt.asIntN(64, left * right)
      case "/":
      case "%":
        if (right === 0n) return this.#unused === 0 ? this.#fail("division by zero") : 0n
        return BigInt.asIntN(64, operator === "/" ? left / right : left % right)
      case "<<":
        return BigInt.asIntN(64, left << (right & 63n))
      case ">>":
        return left >> (right & 63n)
      case "<":
        return truth(left < right)
      case ">":
        return truth(left > right)
      case "<=":
        return truth(left <= right)
      case ">=":
        return truth(left >= right)
      case "==":
        return truth(left === right)
      case "!=":
        return truth(left !== right)
      case "&":
        return left & right
      case "|":
        return left | right
      default:
        return left ^ right
    }
  }
}
