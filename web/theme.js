// The colour scheme, set before the first paint. In: the stored choice or the system's. Out: `data-theme` on the root element.
// A classic script on purpose: modules run after the first paint, and a dark page must not flash white.

(() => {
  const stored = () => {
    try {
      return localStorage.getItem("windrow-theme");
    } catch {
      return null; // storage may be forbidden; the system's choice serves
    }
  };
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    document.documentElement.dataset.theme = stored() ?? (dark.matches ? "dark" : "light");
  };
  apply();
  dark.addEventListener("change", apply);
})();
