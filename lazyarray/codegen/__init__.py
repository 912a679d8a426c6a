"""The scalar dialect and its emitters: one program for an element, the same bits in every tier."""
