/** Seeing what happens in environments: what was recorded, what it says, and pages to look at. */
export * as Timeline from "./Timeline.ts"
