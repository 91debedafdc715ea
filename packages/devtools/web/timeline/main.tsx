import { effect } from "@preact/signals"
import { render } from "preact"
import { App } from "./App.tsx"
import { inSlices, load } from "./load.ts"
import { makeModel } from "./model.ts"
import { Stage } from "./stage.ts"
import { keepInAddress, themeChoice } from "./state.ts"

const start = async (): Promise<void> => {
  const app = document.getElementById("app")!
  const element = document.getElementById("data")!
  try {
    const data = await load(element)
    const model = await inSlices(makeModel(data))
    keepInAddress(model)
    effect(() => {
      if (themeChoice.value === "auto") delete document.documentElement.dataset["theme"]
      else document.documentElement.dataset["theme"] = themeChoice.value
    })
    const stage = new Stage(model)
    app.textContent = ""
    render(<App stage={stage} />, app)
    // For those who measure, and for tests: everything has been drawn once.
    requestAnimationFrame(() => {
      performance.mark("timeline-drawn")
      document.documentElement.dataset["ready"] = "true"
    })
  } catch (error) {
    app.textContent = `This timeline could not be opened: ${error instanceof Error ? error.message : String(error)}`
    document.documentElement.dataset["ready"] = "failed"
  }
}

void start()
