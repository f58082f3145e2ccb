/** @typedef {{ passed: number, failed: number }} Counts */

/** A check that left no report, or ran no test, has failed: silence must not pass for success. @type {Counts} */
export const nothingRan = Object.freeze({ passed: 0, failed: 1 });

/**
 * @param {{ numPassedTests: number, numFailedTests: number,
 *   testResults: ReadonlyArray<{ status: string, assertionResults: ReadonlyArray<{ status: string }> }> }} report
 * @param {boolean} ok - vitest ended well
 * @returns {Counts} a file that could not even be loaded counts as one failed test
 */
export function countReport(report, ok) {
  const unloaded = report.testResults.filter(
    (file) => file.status === "failed" && !file.assertionResults.some(({ status }) => status === "failed"),
  ).length;
  const failed = report.numFailedTests + unloaded;
  if (report.numPassedTests + failed === 0) return nothingRan;
  // An error outside of every test (an unhandled rejection) fails the run without failing a test.
  return { passed: report.numPassedTests, failed: failed === 0 && !ok ? 1 : failed };
}

/**
 * @param {string} name
 * @param {Counts} counts
 * @returns {string[]}
 */
export function failuresOf(name, { failed }) {
  return failed > 0 ? [failed === 1 ? name : `${name} (${failed})`] : [];
}
