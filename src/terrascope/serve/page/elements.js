// Elements of the page: made, found.

/** A new element with its properties. */
export const make = (tag, properties = {}) => Object.assign(document.createElement(tag), properties);

/** The element of an id. */
export const at = (id) => document.getElementById(id);
