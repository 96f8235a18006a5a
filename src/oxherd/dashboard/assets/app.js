// What the pages' links and forms cannot do by themselves: live parts, and a key for the search.
(() => {
  "use strict";
  const live = document.getElementById("live");
  const lost = document.getElementById("not-live");
  const LOST_MS = 4000;
  const AGAIN_MS = 3000;
  let stream = null;
  let losing = 0;

  const morphing = {
    morphStyle: "innerHTML",
    ignoreActiveValue: true,
    callbacks: {
      // What is being filled in or was opened stays so.
      beforeNodeMorphed: (node) => !(node.nodeType === Node.ELEMENT_NODE && node.hasAttribute("data-keep")),
      beforeAttributeUpdated: (name, node) => !(name === "open" && node.tagName === "DETAILS"),
    },
  };

  function found() {
    clearTimeout(losing);
    losing = 0;
    lost.hidden = true;
  }

  function missed() {
    // The server ends each stream now and then; only one that cannot be opened again is worth a word.
    losing ||= setTimeout(() => { lost.hidden = false; }, LOST_MS);
    if (stream && stream.readyState === EventSource.CLOSED) setTimeout(open, AGAIN_MS);
  }

  function open() {
    if (document.hidden || (stream && stream.readyState !== EventSource.CLOSED)) return;
    stream = new EventSource(live.dataset.live);
    stream.onopen = found;
    stream.onerror = missed;
    stream.onmessage = (event) => Idiomorph.morph(live, event.data, morphing);
  }

  function shut() {
    if (stream) stream.close();
    stream = null;
  }

  if (live && live.dataset.live) {
    document.addEventListener("visibilitychange", () => (document.hidden ? shut() : open()));
    addEventListener("pagehide", shut);
    addEventListener("pageshow", open);
    open();
  }

  document.addEventListener("keydown", (event) => {
    const filling = event.target.closest("input, textarea, select");
    if (event.key === "/" && !filling && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      document.getElementById("search").focus();
    }
  });
})();
