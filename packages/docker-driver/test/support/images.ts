/** The images that the tests run in: the same as those of the examples. */
export * from "../../../../examples/support/images.ts"
