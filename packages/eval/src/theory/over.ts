/** Mean over seeds, its standard error and their standard deviation, both null below two. */
export const over = (values: ReadonlyArray<number>) => {
  const value = values.reduce((sum, each) => sum + each, 0) / values.length
  const deviation = values.length < 2 ? null : Math.sqrt(values.reduce((sum, each) => sum + (each - value) ** 2, 0) / (values.length - 1))
  return { value, deviation, standardError: deviation === null ? null : deviation / Math.sqrt(values.length), count: values.length }
}
