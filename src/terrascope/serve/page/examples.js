// Questions to begin with, one of each kind that can be asked.

export const EXAMPLES = [
  ["Coverage", "How much of the image is water?"],
  ["Area", "What is the area of the water?"],
  ["Distance", "How far apart are water and developed areas?"],
  ["Count", "How many separate areas of water are there?"],
  ["Change", "How much of image 2 is flooded?"],
  ["Comparison", "Which is larger, water or crops?"],
];
