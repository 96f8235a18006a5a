// What the pages' links and forms cannot do by themselves.
(() => {
  "use strict";
  const lost = () => document.getElementById("not-live");

  // A stream that has ended is opened again at once; only one that cannot be is worth a word.
  document.addEventListener("htmx:sse:error", () => { lost().hidden = false; });
  document.addEventListener("htmx:sse:after:connection", (event) => {
    const status = event.detail.connection.status;
    lost().hidden = status === 200;
    if (status === 401 || status === 403) location.reload();
  });

  document.addEventListener("keydown", (event) => {
    const field = event.target.closest("input, textarea, select");
    if (event.key === "/" && !field && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      document.getElementById("search").focus();
    }
  });
})();
