/** Asks whether an action is meant, and asks the server for it. */
import { signal } from "@preact/signals"
import { useLayoutEffect, useRef } from "preact/hooks"
import * as api from "./api.ts"
import { plural } from "./format.ts"

export type Question =
  | { readonly action: "drain" | "shutdown"; readonly environment: string; readonly sessions: number }
  | {
      readonly action: "recycle"
      readonly environment: string
      readonly sandbox: string
      readonly isInSession: boolean
    }

const question = signal<Question | undefined>(undefined)
const problem = signal<string | undefined>(undefined)
const isBusy = signal(false)

export const ask = (next: Question): void => {
  problem.value = undefined
  question.value = next
}

const nameKey = "effect-sandbox-name"

const texts = (asked: Question): { readonly title: string; readonly text: string; readonly button: string } => {
  switch (asked.action) {
    case "drain":
      return {
        title: `Drain ${asked.environment}?`,
        text: `It hands out no new sessions. ${plural(asked.sessions, "session")} in flight may come to an end, and then it shuts down. This cannot be taken back.`,
        button: "Drain"
      }
    case "shutdown":
      return {
        title: `Shut down ${asked.environment}?`,
        text: `All sandboxes are taken down at once, and ${plural(asked.sessions, "session")} in flight ${asked.sessions === 1 ? "is" : "are"} ended. This cannot be taken back.`,
        button: "Shut down"
      }
    case "recycle":
      return {
        title: "Recycle this sandbox?",
        text: `${asked.sandbox} is taken down ${asked.isInSession ? "after its session" : "at once"}, and replaced as usual.`,
        button: "Recycle"
      }
  }
}

export const ActionDialog = () => (question.value === undefined ? null : <Confirm asked={question.value} />)

const Confirm = ({ asked }: { readonly asked: Question }) => {
  const dialog = useRef<HTMLDialogElement>(null)
  const name = useRef<HTMLInputElement>(null)
  useLayoutEffect(() => dialog.current?.showModal(), [])
  const close = (): void => {
    question.value = undefined
  }
  const confirm = async (): Promise<void> => {
    const by = name.current?.value.trim() ?? ""
    localStorage.setItem(nameKey, by)
    isBusy.value = true
    const subject = asked.action === "recycle" ? { sandbox: asked.sandbox } : {}
    const answer = await api.act(asked.action, {
      environment: asked.environment,
      ...subject,
      confirm: asked.action === "recycle" ? asked.sandbox : asked.environment,
      ...(by === "" ? {} : { by })
    } as Parameters<typeof api.act>[1]) // ids are branded only where they are made
    isBusy.value = false
    if ("problem" in answer) problem.value = answer.problem
    else close()
  }
  const { button, text, title } = texts(asked)
  return (
    <dialog ref={dialog} aria-labelledby="question" aria-describedby="consequence" onClose={close}>
      <h2 id="question">{title}</h2>
      <p id="consequence">{text}</p>
      <label>
        Your name, for the event log (optional)
        <input ref={name} type="text" maxLength={100} defaultValue={localStorage.getItem(nameKey) ?? ""} />
      </label>
      {problem.value !== undefined && (
        <p class="notice bad" role="alert">
          {problem.value}
        </p>
      )}
      <div class="buttons">
        <button type="button" onClick={close}>
          Cancel
        </button>
        <button type="button" class="danger solid" disabled={isBusy.value} onClick={() => void confirm()}>
          {button}
        </button>
      </div>
    </dialog>
  )
}
